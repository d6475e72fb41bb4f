import { isObject, type JsonObject } from '../api/answers.js';

/** References that are followed until an object comes; more of them are a circle. */
export const LONGEST_CHAIN = 20;

/** Returns the value that a reference (`#/definitions/a~1b`) leads to; undefined if it leads nowhere. */
export const referenced = (root: JsonObject, reference: string): unknown =>
  reference
    .replace(/^#\/?/, '')
    .split('/')
    .map((part) => part.replace(/~1/g, '/').replace(/~0/g, '~'))
    .reduce<unknown>((inner, part) => (isObject(inner) ? inner[part] : undefined), root);
