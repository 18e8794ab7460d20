# Prints what a URL has to say, by Ruby's own client.
require "net/http"
require "openssl"

url = URI(ARGV[0])
options = { use_ssl: url.scheme == "https", verify_mode: OpenSSL::SSL::VERIFY_NONE, read_timeout: 30 }
answer = Net::HTTP.start(url.host, url.port, **options) { |http| http.get(url.request_uri, "Connection" => "close") }
abort answer.code unless answer.code == "200"
print answer.body
