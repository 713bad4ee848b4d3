"""HTTP: the only importer of fastapi and mangum. Functions get their app, handler and requests' parts from its modules,
each from its own: who reads no form imports no parser of forms."""
