/** Requests to a source: credentials, bodies, errors, rate limits, and how records are found in an answer. */
import type { Json } from './json.js';
import type { TableSpec } from './tables.js';

/** A credential; its texts are references to secrets, which only activities resolve. */
export type Auth =
  | { type: 'none' }
  | { type: 'basic'; username: string; password: string }
  | { type: 'bearer'; token: string }
  | { type: 'api_key'; name: string; value: string; in: 'header' | 'query' | 'cookie' }
  | SessionAuth
  | OAuth2Auth
  | {
      type: 'signature';
      /** Name of the module `NAME.mjs` in the worker's folder of hooks; its `sign` returns headers for each request. */
      hook: string;
      /** Settings passed to the hook besides the request. */
      settings: { [name: string]: string };
    };

/** A token from a login request, renewed when it expires or is refused. */
export interface SessionAuth {
  type: 'session';
  login: {
    /** An absolute URL, or a path below the source's base_url. */
    url: string;
    method: 'GET' | 'POST';
    headers: { [name: string]: string };
    body: Json | null;
    bodyAs: BodyEncoding;
  };
  /** Place of the token, and of its lifetime in seconds, in the login's answer. */
  token: AnswerPath;
  expiresIn: AnswerPath | null;
  name: string;
  /** Text before the token. */
  prefix: string;
  in: 'header' | 'query' | 'cookie';
}

/** Client credentials, or a refresh token if there is one; a rotated refresh token is stored encrypted. */
export interface OAuth2Auth {
  type: 'oauth2';
  tokenUrl: string;
  clientId: string;
  clientSecret: string;
  /** How the client authenticates. */
  clientAuth: 'body' | 'basic';
  refreshToken: string | null;
  scopes: string[];
  params: { [name: string]: string };
}

export type BodyEncoding = 'json' | 'form';

/** Place in an answer: names of the members on the way, or a JSONPath (RFC 9535) whose first node counts. */
export type AnswerPath = string[] | string;

/** Place of a value in an answer: in the body, or in a header. */
export type AnswerPlace = AnswerPath | { header: string };

/** Actions of error rules. */
export const ERROR_ACTIONS = [
  'retry',
  'wait',
  'ignore',
  'end',
  'skip_parent',
  'renew_credentials',
  'fail',
] as const;

export type ErrorAction = (typeof ERROR_ACTIONS)[number];

/** A rule for answers that are not pages of records. All conditions must match; the first matching rule applies. */
export interface ErrorRule {
  /** Statuses such as "404" or "5xx"; null: any status but 2xx or, with `path`, any. */
  statuses: string[] | null;
  /** Regular expression that the body must match. */
  body: string | null;
  /** Place in the JSON body that must have a value other than empty, null or false. */
  path: AnswerPath | null;
  action: ErrorAction;
  /** wait: seconds to wait if the answer does not say. */
  waitSeconds: number;
}

/** Request limits for all streams of a source together; each worker applies them separately. */
export interface RateLimit {
  requestsPerSecond: number | null;
  concurrency: number | null;
  /** Headers with the number of remaining requests, and with the time at which they are renewed. */
  remainingHeader: string | null;
  resetHeader: string | null;
}

/** Format of an answer's body. */
export type BodyFormat = 'json' | 'ndjson' | 'csv';

/** Conversion of a record into a row. */
export interface RecordShape {
  /** Path of a column's value in the record, of names and list indices; other columns take the member of their name. */
  from: { [column: string]: (string | number)[] };
  /** Columns filled from the parent, with the parent's field. */
  parent: { [column: string]: string };
  /** JSONPath filter expression such as `@.status == 'open'`; records that do not match are skipped. */
  where: string | null;
  /** Members without a column keep their names; absent: they are dropped. */
  rest?: true;
  /** Members without a column that child tables are filled from; absent: none. */
  keeps?: string[];
  /** The hook that makes rows of records, before columns are made and picked; absent: each record is one row. */
  transform?: HookRef;
  /** Columns that are made, and not members as they are. */
  made?: { [column: string]: MadeColumn };
  /** Members that are left out everywhere: their names on the way through the record and its lists; null is any name. */
  exclude?: (string | null)[][];
  /** The column that keeps the whole record, as JSON. */
  raw?: string;
  /** Lists whose items become rows of child tables, and columns are made for them; absent: none. */
  items?: ItemShape[];
}

/** How columns are made for the items of a list in each record, or in each item of another such list. */
export interface ItemShape {
  /** The child table. */
  table: string;
  /** Place of the list in the record or item above. */
  from: (string | number)[];
  /** The list is an object: each member is an item. */
  isNamed?: true;
  made: { [column: string]: MadeColumn };
  items?: ItemShape[];
}

/** Lists a shape's lists and the lists in their items. */
export const allItems = (items: readonly ItemShape[] = []): ItemShape[] =>
  items.flatMap((one) => [one, ...allItems(one.items)]);

/** A hook that a configuration names. */
export interface HookRef {
  hook: string;
  /** Digest of its code when the stream was opened; absent: it was not opened yet. */
  digest?: string;
}

/** How a column is made. */
export type MadeColumn =
  | {
      /** The same for every record. */
      value: Json;
    }
  | {
      /** Path of the member that is hashed, masked, or "this" of the expression. */
      from: (string | number)[];
      /** In CEL; its result is what is hashed or masked. */
      expression?: string;
      /** Types of the members that it reads, where their columns declare them. */
      types?: { [member: string]: 'int' | 'double' | 'string' | 'bool' };
      /** SHA-256, or HMAC-SHA-256 where there is a key: a reference to a secret. */
      hash?: { key: string | null };
      mask?: MaskKind;
    };

/** Kinds of masks: which part of a text stays. */
export const MASK_KINDS = ['full', 'first1', 'last4', 'email'] as const;

export type MaskKind = (typeof MASK_KINDS)[number];

/** The stream that provides the parents; one request is made for each. */
export interface ParentSpec {
  stream: string;
  table: TableSpec;
  /** Columns of the parent used in requests and rows. */
  fields: string[];
}

/** How to call an API, and where its answers contain the values needed for paging. */
export interface RequestSpec {
  /** Default: GET. */
  method?: 'GET' | 'POST';
  /** Body of a POST; its texts may refer to `${cursor:NAME}` and `${parent:FIELD}`. */
  body?: Json;
  bodyAs?: BodyEncoding;
  /** Default: json. */
  format?: BodyFormat;
  /** The answer is a single record instead of a list. */
  single?: boolean;
  shape?: RecordShape | null;
  errors?: ErrorRule[];
  rateLimit?: RateLimit;
  /** The API's parameter names, by the reference API's. */
  names: { [reference: string]: string };
  /** The API's number of the first record; absent: 0. */
  firstOffset?: number;
  /** Parameters of every request. */
  params: { [name: string]: string };
  headers: { [name: string]: string };
  auth: Auth;
  /** Place of the list of records; empty if the answer is the list itself. */
  records: AnswerPath;
  /** Place of the names of members, if records are lists of values; absent: they are objects. */
  recordNames?: AnswerPath;
  /** The next page: a token or an address in the body or in a header, or the `Link` header's `next`. */
  next:
    | {
        in: 'body';
        path: AnswerPath;
        isAddress: boolean;
        /** Sends the members of the token as parameters; absent: sends the token itself. */
        as?: 'params';
        /** No token is configured: the reference API's is used if present. */
        isAssumed?: true;
      }
    | { in: 'header'; name: string; isAddress: boolean }
    | { in: 'link'; isAddress: true };
  /** Hosts that addresses of next pages may be on besides the configured one: `host` or `host:port`. */
  nextHosts?: string[];
  total: AnswerPlace | null;
  more: AnswerPlace | null;
  totalPages?: AnswerPlace | null;
  /** An answer with this value is the last one. */
  ends?: { path: AnswerPath; is: Json } | null;
}
