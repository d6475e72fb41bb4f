/**
 * The part of zod that checks inputs. Workflows use it too: a worker loads this module once for all of them (the bundles
 * are built with it preloaded), where each workflow would otherwise keep half a megabyte of it to itself.
 */
export {
  array,
  boolean,
  custom,
  discriminatedUnion,
  enum as oneOf,
  exactOptional,
  int,
  lazy,
  literal,
  looseObject,
  maximum,
  maxLength,
  minimum,
  minLength,
  null as nil,
  nullable,
  number,
  record,
  refine,
  regex,
  safeParse,
  strictObject,
  string,
  union,
  type infer,
} from 'zod/mini';

export type { $ZodIssue as Issue, $ZodType as Schema } from 'zod/v4/core';
