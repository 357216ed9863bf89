"""nncodec's whole pipeline as one process, for timing: PYTHON nncodec_full_process.py encode|decode SOURCE TARGET ...

encode SOURCE.npz TARGET QP NONWEIGHT_QP DQ; decode SOURCE TARGET.npz, and what follows is not looked at. Prints a JSON
list: seconds after the imports, seconds of the imports.
"""

import json
import sys
import time

start = time.perf_counter()
import nncodec_full_server as server  # noqa: E402

imported = time.perf_counter()
what, source, target, *rest = sys.argv[1:]
if what == "encode":
    qp, small_qp, dq = map(int, rest)
    server.encode_network(source, target, qp=qp, nonweight_qp=small_qp, use_dq=bool(dq))
else:
    server.decode_network(source, target)
print(json.dumps([time.perf_counter() - imported, imported - start]))
