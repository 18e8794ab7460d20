# Prints what a URL has to say, by HTTP::Tiny.
use strict;
use warnings;
use HTTP::Tiny;

# It sends `connection: close` itself unless it is to keep the connection.
my $answer = HTTP::Tiny->new(timeout => 30, keep_alive => 0, verify_SSL => 0)->get($ARGV[0]);
die "$answer->{status} $answer->{content}" unless $answer->{status} == 200;
print $answer->{content};
