/** Resolves once the program is asked to end, by SIGINT or SIGTERM. */
export const untilInterrupted = (): Promise<void> =>
  new Promise((done) => {
    process.once('SIGINT', done);
    process.once('SIGTERM', done);
  });
