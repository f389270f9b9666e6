"""A Hyper-V host, from anywhere: WS-Management at the bottom, one backup of a virtual machine on top.

```text
backup · check                      what is done with a virtual machine, step by step
host                                what callers hold
machines · disks · checkpoints · reference_points · changes · jobs · files
session                             what all of these ask: get, enumerate, query, invoke
wsman                               the one module that speaks to a host
values · classes                    CIM: what answers mean
```
"""
