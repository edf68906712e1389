"""A code is sent, read from the inbox and checked, with the client of openapi-python-client."""

import re
import sys

import httpx
from twofa_client.api.default import check_code, list_templates, send_code
from twofa_client.client import AuthenticatedClient
from twofa_client.models import CheckCodeRequest, SendCodeRequest

api = sys.argv[1]
twofa = AuthenticatedClient(
    base_url=api,
    token="2fa_demo_LaptopOnlyLaptopOnlyLaptopOnlyLaptopOnly123",
    prefix="",
    auth_header_name="X-API-KEY",
)
to = "+447400000102"

templates = list_templates.sync(client=twofa)
login = next(template for template in templates.data if template.name == "Login")

body = SendCodeRequest(to=to, template_id=login.id)
sent = send_code.sync(client=twofa, body=body, idempotency_key="python")
assert sent.status == "ACCEPTED", sent

inbox = httpx.get(f"{api.removesuffix('/api')}/inbox", params={"to": to}).json()
code = re.search(r"\d{6}", inbox[0]["text"])[0]


def check(code):
    body = CheckCodeRequest(code=code, request_id=sent.request_id)
    answer = check_code.sync_detailed(client=twofa, body=body)
    return answer.status_code.value, answer.parsed.verified, answer.parsed.status


wrong = "111111" if code == "000000" else "000000"
assert check(wrong) == (200, False, "not_matched")
assert check(code) == (200, True, "success")
assert check(code) == (404, False, "not_found")

body = SendCodeRequest(to="1", template_id=login.id)
bad = send_code.sync(client=twofa, body=body)
assert bad.error_message == "DESTINATION_ADDRESS_INVALID", bad
print("passed")
