"""An engine in a process of its own: web processes ask it over a local socket, behind the same `Engine` seam.

    wire.py       what goes over the socket
    host.py       the engine's process: engines, and the answers that its clients asked for
    shelf.py      which engines are loaded there, and which one gives way where memory is short
    client.py     `ApartEngine`, an `Engine` whose computing is done there
    process.py    starting that process, and starting it again when it dies

Why so: decision 75 in docs/LOG.md.
"""
