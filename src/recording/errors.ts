import { HighwaterError } from '../errors.js';

/** A recording cannot be read or written. */
export class RecordingError extends HighwaterError {
  override readonly name = 'RecordingError';
}

/** A sync that runs over a recording sends a request that is not in it. */
export class NotRecordedError extends HighwaterError {
  override readonly name = 'NotRecordedError';
}

/** A stream could not be read from its source or its recording. */
export class StreamNotReadError extends HighwaterError {
  override readonly name = 'StreamNotReadError';
}
