"""Sends and fetches with Python's own libraries, in every way they know: plain, STARTTLS/STLS, implicit TLS."""

import json
import poplib
import smtplib
import ssl
import sys
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP

ports = json.loads(sys.argv[1])
user, password = sys.argv[2], sys.argv[3]
tls = ssl.create_default_context()
tls.check_hostname = False
tls.verify_mode = ssl.CERT_NONE


def host(name):
    address, port = ports[name].rsplit(":", 1)
    return address, int(port)


def mail(subject):
    message = EmailMessage()
    message["From"] = user
    message["To"] = user
    message["Subject"] = subject
    message["Message-ID"] = f"<{subject}@example.test>"
    message.set_content(f"Body of {subject}\n.\n..leading dots\n.\n")
    message.add_attachment(bytes(range(256)) * 40, maintype="application", subtype="octet-stream", filename="octets.bin")
    return message


sent = {}

# The MX port, as another server would, without login.
with smtplib.SMTP(*host("smtp"), timeout=30) as smtp:
    assert smtp.ehlo("client.example.net")[0] == 250
    for extension in ("pipelining", "size", "8bitmime", "enhancedstatuscodes", "starttls"):
        assert smtp.has_extn(extension), extension
    message = mail("mx")
    refused = smtp.sendmail("someone@example.net", [user, "nobody@example.test"], message.as_bytes(policy=SMTP))
    assert list(refused) == ["nobody@example.test"] and refused["nobody@example.test"][0] == 550, refused
    sent["mx"] = message

# STARTTLS, then login, on the MX port and on submission.
for name in ("smtp", "submission"):
    with smtplib.SMTP(*host(name), timeout=30) as smtp:
        smtp.starttls(context=tls)
        assert smtp.ehlo("client.example.net")[0] == 250
        assert not smtp.has_extn("starttls")
        assert "PLAIN" in smtp.esmtp_features["auth"] and "LOGIN" in smtp.esmtp_features["auth"]
        for method in ("plain", "login"):
            try:
                smtp.user, smtp.password = user, "wrong"
                smtp.auth(method, getattr(smtp, f"auth_{method}"))
                raise SystemExit("a wrong password was accepted")
            except smtplib.SMTPAuthenticationError as error:
                assert error.smtp_code == 535, error
        smtp.login(user, password)
        message = mail(f"starttls-{name}")
        smtp.send_message(message)
        sent[f"starttls-{name}"] = message

# Implicit TLS.
with smtplib.SMTP_SSL(*host("smtps"), context=tls, timeout=30) as smtp:
    smtp.login(user, password)
    message = mail("implicit")
    smtp.send_message(message)
    sent["implicit"] = message


def check(pop):
    count, octets = pop.stat()
    assert count == len(sent), (count, len(sent))
    sizes = [int(line.split()[1]) for line in pop.list()[1]]
    assert sum(sizes) == octets
    for number in range(1, count + 1):
        _, lines, size = pop.retr(number)
        data = b"\r\n".join(lines) + b"\r\n"
        assert len(data) == sizes[number - 1], (len(data), sizes[number - 1])
        message = BytesParser(policy=SMTP).parsebytes(data)
        original = sent[message["Subject"]]
        parts, originals = list(message.iter_parts()), list(original.iter_parts())
        assert parts[1].get_content() == originals[1].get_content()
        assert parts[0].get_content().replace("\r\n", "\n") == originals[0].get_content()
        assert message["Return-Path"] is not None and message["Received"] is not None
        head = pop.top(number, 0)[1]
        assert head[-1] == b"" and head == lines[: len(head)]
    assert len({line.split()[1] for line in pop.uidl()[1]}) == count


plain = poplib.POP3(*host("pop3"), timeout=30)
assert "STLS" in plain.capa()
plain.user(user)
plain.pass_(password)
check(plain)
plain.quit()

secure = poplib.POP3(*host("pop3"), timeout=30)
secure.stls(tls)
secure.user(user)
secure.pass_(password)
check(secure)
secure.quit()

implicit = poplib.POP3_SSL(*host("pop3s"), context=tls, timeout=30)
implicit.user(user)
try:
    implicit.pass_("wrong")
    raise SystemExit("a wrong password was accepted")
except poplib.error_proto as error:
    assert b"[AUTH]" in error.args[0], error
implicit.user(user)
implicit.pass_(password)
check(implicit)
for number in range(1, len(sent) + 1):
    implicit.dele(number)
implicit.quit()

after = poplib.POP3(*host("pop3"), timeout=30)
after.user(user)
after.pass_(password)
assert after.stat() == (0, 0)
after.quit()
print("all sent, fetched, compared and deleted")
