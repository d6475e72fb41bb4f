/** Names of hooks: those of files in one folder. */
export const HOOK_NAME = /^[A-Za-z0-9_-]{1,100}$/;

/** The problem of any other name. */
export const NO_HOOK_NAME = 'is not a valid name of a hook: use letters, digits, "-" and "_"';
