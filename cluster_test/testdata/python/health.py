"""Check and Watch by grpcio as it comes, without generated code: python3 health.py HOST:PORT.

TestProcessStockPython reads what it prints. The two messages of the protocol are so small that two functions read and
write them; a program that has grpcio-health-checking uses its stub instead.
"""

import sys

import grpc

STATUS = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]


def request(service):
    name = service.encode()
    assert len(name) < 128
    return b"\x0a" + bytes([len(name)]) + name if name else b""


def status(response):
    return STATUS[response[1] if response else 0]


channel = grpc.insecure_channel(sys.argv[1])
check = channel.unary_unary("/grpc.health.v1.Health/Check", request, status)
watch = channel.unary_stream("/grpc.health.v1.Health/Watch", request, status)

for service in ["payments", "orders", "nobody", "rollcall.reads"]:
    try:
        print("check", service, check(service, timeout=30))
    except grpc.RpcError as e:
        print("check", service, e.code().name)
for service in ["nobody", "payments"]:
    call = watch(service, timeout=30)
    print("watch", service, next(call))
    call.cancel()
