"""Prints what a URL has to say, by requests."""

import sys
import warnings

import requests

warnings.simplefilter("ignore")
answer = requests.get(sys.argv[1], headers={"Connection": "close"}, verify=False, timeout=30)
answer.raise_for_status()
sys.stdout.write(answer.text)
