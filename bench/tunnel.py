"""Takes calls of Google's token endpoint to the sandbox, for programs that have its address built in.

`python bench/tunnel.py --to PORT --cert FILE --key FILE` prints `ready PORT`: an HTTP proxy that knows one host. It answers `CONNECT
oauth2.googleapis.com:443` with a TLS server of its own and passes what it hears to the plain sandbox; every other host is refused. The
program trusts the certificate's authority by its own settings; nothing in it is patched.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import ssl

HOST = b"oauth2.googleapis.com:443"


async def serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, context: ssl.SSLContext, to: int
) -> None:
    try:
        request = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
        if request[:2] != [b"CONNECT", HOST]:
            writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        await writer.start_tls(context)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))
    except (OSError, asyncio.IncompleteReadError):
        return  # the caller has left
    finally:
        writer.close()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything from one to the other, then the end."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(options: argparse.Namespace) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.cert, options.key)
    server = await asyncio.start_server(
        functools.partial(serve, context=context, to=options.to), "127.0.0.1", 0
    )
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=int, required=True)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    asyncio.run(main(parser.parse_args()))
