/** Names that tell that a value is a secret. */

/** Query parameters whose values are hidden wherever a URL is shown, reference or not. */
export const SECRET_NAME = /key|token|secret|passw|signature|^sig$|auth|credential/i;

/**
 * Query parameters that hold a credential, by the letters of their names. Not every name with "key" or "token" in it:
 * `sort_key` and `page_token` are no secrets.
 */
const CREDENTIAL =
  /^(key|token|auth|sig|jwt|pass|pwd|pin|otp|apppass|bearer)$|(api|app|access|secret|private|auth|client|consumer|subscription|license|master|account|service|admin|user|function)(key|token)s?$|(bearer|session|id|refresh|security|personal|bot|oauth|csrf)token|secret|passw|passphrase|signature|credential|authorization|sessionid/;

/** Whether a name is that of a credential, whatever its case and separators. */
export const isCredential = (name: string) => CREDENTIAL.test(name.toLowerCase().replace(/[^a-z]/g, ''));
