"""Prints what a URL has to say, by Python's own client."""

import ssl
import sys
import urllib.request

request = urllib.request.Request(sys.argv[1], headers={"Connection": "close"})
trusting = ssl._create_unverified_context()
sys.stdout.write(urllib.request.urlopen(request, context=trusting, timeout=30).read().decode())
