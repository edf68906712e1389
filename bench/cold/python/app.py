"""The endpoint `validate` as one would write it for Python: the same write, the same digests.

It does less than ours: its peppers and its client come from the environment, not from Secrets
Manager and the directory table, and it does not count a recipient's failures.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import time
import uuid

import boto3

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CLIENT = os.environ["CLIENT"]
TABLE = os.environ["VERIFICATIONS_TABLE"]
CURRENT, NEXT, PREVIOUS = (
    base64.urlsafe_b64decode(f"{pepper}=") for pepper in os.environ["PEPPERS"].split(",")
)

dynamodb = boto3.client("dynamodb")


def handler(event, context):
    try:
        body = event["body"]
        question = json.loads(base64.b64decode(body) if event["isBase64Encoded"] else body)
        code, request_id = question["code"], question["request_id"]
        known = UUID.fullmatch(request_id)
        code = re.sub(r"[\s-]", "", code)
    except (KeyError, TypeError, ValueError):
        return answer(400, {"errors": [{"property": "body", "error": "is not a question"}]})
    if not known:
        return answer(404, {"verified": False, "status": "not_found"})
    attempt = f"try#{secrets.token_urlsafe(16)}"
    item = guess(request_id, code, attempt)
    if attempt not in item:
        return answer(404, {"verified": False, "status": "not_found"})
    verified = item["state"]["S"] == "verified" and item["attempts"] == item[attempt]
    return answer(200, {"verified": verified, "status": "success" if verified else "not_matched"})


def guess(request_id, code, attempt):
    try:
        return dynamodb.update_item(
            TableName=TABLE,
            Key={"id": {"S": request_id}},
            UpdateExpression=(
                "SET attempts = attempts + :one, #try = attempts + :one, #state = "
                "if_not_exists(#current, if_not_exists(#next, if_not_exists(#previous, #state)))"
            ),
            ConditionExpression=(
                "#client = :client AND expires_at > :now AND attempts < max_attempts "
                "AND #state IN (:stored, :sent) AND attribute_not_exists(#try)"
            ),
            ExpressionAttributeNames={
                "#client": "client",
                "#current": code_attribute(CURRENT, request_id, code),
                "#next": code_attribute(NEXT, request_id, code),
                "#previous": code_attribute(PREVIOUS, request_id, code),
                "#state": "state",
                "#try": attempt,
            },
            ExpressionAttributeValues={
                ":client": {"S": CLIENT},
                ":now": {"N": str(time.time_ns() // 1_000_000)},
                ":one": {"N": "1"},
                ":sent": {"S": "sent"},
                ":stored": {"S": "stored"},
            },
            ReturnValues="ALL_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )["Attributes"]
    except dynamodb.exceptions.ConditionalCheckFailedException as error:
        return error.response.get("Item", {})


def code_attribute(pepper, request_id, code):
    """HMAC-SHA-256 of the client, the request and the code, each after its length."""
    fields = (CLIENT.encode(), uuid.UUID(request_id).bytes, code.encode())
    message = b"".join(len(field).to_bytes(8, "big") + field for field in fields)
    digest = hmac.digest(pepper, message, hashlib.sha256)
    return f"code#{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def answer(status, body):
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json", "cache-control": "no-store"},
        "body": json.dumps(body),
    }
