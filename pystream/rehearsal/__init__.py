"""The rehearsal of an event: viewers who play a stream on the operator's own host, before they come.

Theory. What limits an event is the processor time, the memory and the bytes that a viewer costs here, with
this film, these settings and this machine; and the limits that somebody has set. The first are measured: a
node of its own, with the settings of the real one and the stream as it is stored, is started in a namespace
of its own (network_namespaces(7)), and viewers play from it, each from an address of its own (RFC 2544
keeps 198.18.0.0/15 for that). Processor time is taken for each second of film that arrived whole, so that it
does not matter how far ahead players fetch, nor what else the machine does. What is set is read.

| module      | what it is                                                                    |
| `wire`      | a thousand HTTP clients in one thread                                         |
| `players`   | viewers, and the process in which a thousand of them live                     |
| `attackers` | those who flood the node meanwhile, in a namespace beside its own             |
| `watching`  | what processes cost, from outside                                             |
| `stage`     | the node, its namespace, and one run of viewers on it                         |
| `limits`    | from what was measured and set to how many viewers there may be: plain values |
| `page`      | the page that says so                                                         |
"""
