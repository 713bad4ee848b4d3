import pytest
def test_long(on_servers, call, user_id):
    from registry.catalog import reading, reserving, publishing
    from tests.functional.kit import publish, Api
    from registry.files import StoredFile
    api = Api(call, user_id)
    publish(user_id, "m", "v1", [StoredFile(f"f{n:05d}.bin", 1, "0"*64, "e", 0) for n in range(1000)])
    publish(user_id, "m", "v2", [])
    out=[]
    for v in ("x"*1000, "x"*1023, "x"*2049): out.append(("version",len(v),api.get(version=v).status, api.download(version=v).status, api.files(version=v).status, api.update(changes={"name":"x"},version=v).status, api.delete(version=v).status))
    for c in ("2"*1000, "2"*1025, "2"*1500): out.append(("cursor",len(c), api.list(cursor=reading.make_cursor(c)).status, api.versions(cursor=reading.make_cursor(c)).status, api.search("m",cursor=reading.make_cursor(c)).status, api.files(version="v1",cursor=reading.make_cursor(c)).status))
    up = api.start(files=[{"path":"a","size":1}]).body["upload_id"]
    for n in ("99999999","9"*50): out.append(("upcursor", n, api.upload(up, cursor=reading.make_cursor(n)).status))
    out.append(("deps PUT", api.update(changes={"dependencies":["é"*1000]*500}).status))
    out.append(("deps start", api.start("z", archive={"size":1}, dependencies=["é"*1000]*500).status))
    out.append(("deps 390K", api.update(changes={"dependencies":["x"*780]*500}).status))
    out.append(("tags", api.update(changes={"tags":["ΐ"*253+f"{n:03d}" for n in range(50)]}).status))
    out.append(("tags q", api.list(tags="x"*3000).status, api.search("m", tags="x"*3000).status))
    out.append(("filename", api.download(version="v1", filename="x"*1500).status, api.download(version="v1", filename="é"*1500).status))
    out.append(("prim", api.update(changes={"primary_file_path":"é"*1024}, version="v1").status))
    out.append(("many tags q", api.list(tags=",".join(f"t{n}" for n in range(2000))).status))
    open("/tmp/ddb.out","w").write("\n".join(map(str,out)))
