import common = require('@temporalio/common');

/** Messages of failures say what a record holds: where payloads are encrypted, they are too. CommonJS, as the SDK wants it. */
export = { failureConverter: new common.DefaultFailureConverter({ encodeCommonAttributes: true }) };
