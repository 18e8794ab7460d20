# Prints what a URL has to say, by LWP.
use strict;
use warnings;
use LWP::UserAgent;

my $agent = LWP::UserAgent->new(timeout => 30, ssl_opts => { verify_hostname => 0, SSL_verify_mode => 0 });
my $answer = $agent->get($ARGV[0], Connection => 'close');
die $answer->status_line unless $answer->code == 200;
print $answer->content;
