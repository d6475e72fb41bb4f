/** An expression that cannot be used, or has failed for a record. Its message quotes no value. */
export class ExpressionError extends Error {
  override readonly name = 'ExpressionError';
}
