"""A Hyper-V host, from anywhere: WS-Management at the bottom, one backup of a virtual machine on top.

```text
batch · backup · check · machine_changes              what is done with virtual machines, step by step
plan · attempt · frozen · standing · sealing          the steps of a backup, in their order
stale · leases · owners · waits · space               what others do or have left, and what a backup waits for
policy · bases · order · limits · needs · hosted      what is decided, asked for and allowed; the one machine
host                                                  what callers hold
machines · disks · checkpoints · reference_points · changes · files · host_path      one kind of question each
jobs · effects · reading · clock                      how each is asked: to the end of its job, with nothing believed
session                                               what all of these ask: get, enumerate, query, invoke
wsman · transcript                                    who answers: a host, or what was recorded of one
conversation · enumeration · faults                   what is asked how often, page by page, and what an answer means
connection · credentials · address · pseudonyms       how it travels, who asks where, and what a record leaves out
envelope · wql · markup                               requests and answers as text
values · classes · cim · cim_text · references · scalars · moments                   CIM: what values mean
```
"""
