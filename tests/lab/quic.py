"""One QUIC connection on aioquic, driven by hand: what was sent, and how it ended."""

import datetime
import os
import select
import socket
import ssl
import time
from dataclasses import dataclass

from aioquic.buffer import Buffer
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import MAX_EARLY_DATA, QuicConnection
from aioquic.quic.packet import (
    QuicPacketType,
    QuicTransportParameters,
    is_long_header,
    pull_quic_header,
    push_quic_transport_parameters,
)
from aioquic.tls import CipherSuite, ExtensionType, SessionTicket
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

# Seconds after which an attempt that nobody answered is given up.
PATIENCE = 30


def certificate(key):
    """Self-signed; nothing in it matters but the key."""
    name = x509.Name([])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def key_of(kind):
    """"ed25519" or "rsa" for a fresh key; else the file of a PKCS #8 one."""
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    with open(kind, "rb") as file:
        return serialization.load_der_private_key(file.read(), None)


def forged_ticket():
    """A session ticket as a server that resumes would have given, with early data allowed."""
    parameters = Buffer(capacity=512)
    remembered = QuicTransportParameters(
        initial_max_data=2**16, initial_max_stream_data_bidi_remote=2**16, initial_max_streams_bidi=1
    )
    push_quic_transport_parameters(parameters, remembered)
    now = datetime.datetime.now(datetime.timezone.utc)
    return SessionTicket(
        age_add=0,
        cipher_suite=CipherSuite.AES_128_GCM_SHA256,
        not_valid_after=now + datetime.timedelta(days=1),
        not_valid_before=now - datetime.timedelta(seconds=1),
        resumption_secret=os.urandom(32),
        server_name=None,
        ticket=os.urandom(64),
        max_early_data_size=MAX_EARLY_DATA,
        other_extensions=[(ExtensionType.QUIC_TRANSPORT_PARAMETERS, parameters.data)],
    )


def early(datagram):
    """How many of the packets in a datagram are early data."""
    buffer, found = Buffer(data=datagram), 0
    while not buffer.eof() and is_long_header(datagram[buffer.tell()]):
        begin = buffer.tell()
        header = pull_quic_header(buffer)
        found += header.packet_type == QuicPacketType.ZERO_RTT
        buffer.seek(begin + header.packet_length)
    return found


@dataclass
class Outcome:
    """What a client sees of an attempt."""

    # With TLS 1.3 this says nothing yet of whether the server takes the client's certificate.
    handshake: bool = False
    resumed: bool = False
    early_accepted: bool = False
    # Packets of early data that were sent.
    early_sent: int = 0
    tickets: int = 0
    # Bytes read from the stream.
    read: int = 0
    # The code that the server closed with, and whether it is an application's; none if it did not.
    close: int | None = None
    application: bool = False
    reason: str = ""


class Attempt:
    """Connects, sends `send` on a stream, and reads until the server closes."""

    def __init__(self, target, alpn, key=None, source="127.0.0.1", send="", resume=False):
        configuration = QuicConfiguration(alpn_protocols=[alpn], verify_mode=ssl.CERT_NONE, idle_timeout=PATIENCE)
        if key:
            configuration.certificate = certificate(made := key_of(key))
            # Nobody here signs with RSA: without this its certificate would not even be sent.
            configuration.private_key = key_of("ed25519") if key == "rsa" else made
        if resume:
            configuration.session_ticket = forged_ticket()
        self.outcome = Outcome()
        self.connection = QuicConnection(configuration=configuration, session_ticket_handler=self.ticket)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((source, 0))
        self.target, self.data, self.early = tuple(target), bytes.fromhex(send), resume

    def ticket(self, _):
        self.outcome.tickets += 1

    def run(self):
        self.connection.connect(self.target, time.monotonic())
        if self.early:
            self.write()
        deadline = time.monotonic() + PATIENCE
        while self.flush() and time.monotonic() < deadline:
            self.wait()
            if self.handle():
                break
        self.socket.close()
        return self.outcome

    def write(self):
        self.connection.send_stream_data(self.connection.get_next_available_stream_id(), self.data)

    def flush(self):
        for packet, address in self.connection.datagrams_to_send(time.monotonic()):
            self.outcome.early_sent += early(packet)
            self.socket.sendto(packet, address)
        return True

    def wait(self):
        timer = self.connection.get_timer()
        pause = max(0, min(timer or PATIENCE, time.monotonic() + 1) - time.monotonic())
        if select.select([self.socket], [], [], pause)[0]:
            packet, address = self.socket.recvfrom(65536)
            self.connection.receive_datagram(packet, address, time.monotonic())
        elif timer is not None and timer <= time.monotonic():
            self.connection.handle_timer(time.monotonic())

    def handle(self):
        """Whether the attempt is over."""
        while event := self.connection.next_event():
            match event:
                case events.HandshakeCompleted():
                    self.outcome.handshake = True
                    self.outcome.resumed = event.session_resumed
                    self.outcome.early_accepted = event.early_data_accepted
                    if not self.early:
                        self.write()
                case events.StreamDataReceived():
                    self.outcome.read += len(event.data)
                case events.ConnectionTerminated():
                    self.outcome.close, self.outcome.reason = event.error_code, event.reason_phrase
                    self.outcome.application = event.frame_type is None
                    return True
        return False
