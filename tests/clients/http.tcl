# Prints what a URL has to say, by Tcl's own client, which says `connection: close` unless it is to keep the connection.
package require http
package require tls

http::register https 443 [list ::tls::socket -autoservername true]
set token [http::geturl [lindex $argv 0] -keepalive 0 -timeout 30000]
if {[http::ncode $token] != 200} { puts stderr [http::code $token]; exit 1 }
puts -nonewline [http::data $token]
http::cleanup $token
