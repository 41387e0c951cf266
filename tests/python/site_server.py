"""A server on the premises that is not ours: llama.cpp's own HTTP server, on loopback.

    site_server.py .cache/site MODEL.gguf [PORT [ALIAS [API_KEY]]]

The first argument is the folder of the module that `models/setup.sh site` fetches. Prints its
address when it answers; without a port it takes a free one. Ends with its standard input.
"""

import sys

folder, path, port, alias, key = (sys.argv[1:] + [None] * 3)[:5]
sys.path.insert(0, folder)

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = path
params.port = int(port or 0)
params.model_alias = {alias or "site-model"}
if key:
    params.api_keys = [key]
# Two requests at once, each with half of it.
params.n_ctx = 4096
params.n_parallel = 2
# Several daemons and servers run beside each other here.
params.cpuparams.n_threads = 1
params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
