/**
 * Headers that say where a request goes and where it ends. The connection sets them: one that a configuration sets would
 * lead a request to another host through a proxy, or make a part of the next request on the connection its body.
 */
const OF_CONNECTION = [
  'host',
  'content-length',
  'transfer-encoding',
  'connection',
  'keep-alive',
  'upgrade',
  'te',
  'trailer',
  'expect',
];

/** Whether a header is set by the connection alone. */
export const isConnectionHeader = (name: string): boolean =>
  OF_CONNECTION.includes(name.toLowerCase()) || /^proxy-/i.test(name);
