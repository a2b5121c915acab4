"""Messages of proto/stockade/v1. Generated (`make proto`), but for `wire`, which is the codec that `lean` uses.

`policy_pb2`, `comms_pb2`, `report_pb2` and `cache_pb2` are google.protobuf classes for the executor's side. `lean`
holds plain classes for the messages of comms.proto; the far side of the fork uses those, because loading the protobuf
runtime there makes every fork slower. This package imports none of them.
"""
