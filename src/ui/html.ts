/** Renders the pages. `html` escapes every text; what comes from a source passes `shown` too. */
import { html, raw } from 'hono/html';
import type { HtmlEscapedString } from 'hono/utils/html';
import type { Standing } from '../sync-condition.js';
import { count, counted } from '../text.js';
import { streamsOf } from './details.js';
import { type Part, type StreamFacts, type SyncDetails, type SyncFacts } from './facts.js';
import type { DestinationFacts, Event, Overview, SchemaChange } from './facts.js';
import { barPlot, lagOverTime, linePlot, rowsOfPasses, rowsOverTime, sparkline } from './plots.js';
import { STYLE } from './style.js';
import {
  actionsFor,
  CLASSES,
  factsView,
  familyStanding,
  overviewView,
  passCells,
  placeText,
  rowOf,
  short,
  shortAt,
  shown,
  todoText,
} from './view.js';
import type { Action, Filter, Row } from './view.js';

type Html = HtmlEscapedString | Promise<HtmlEscapedString>;

/** A page to render. */
interface Page {
  title: string;
  where: string;
  asOf: string | null;
  body: Html;
  /** The report has its style inside, and no script. */
  isFile: boolean;
}

const layout = ({ title, where, asOf, body, isFile }: Page): Html =>
  html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${shown(title)}</title>
        ${
          isFile
            ? html`<style>
                ${raw(STYLE)}
              </style>`
            : html`<link rel="icon" href="data:," />
                <link rel="stylesheet" href="/style.css" />
                <script src="/script.js" defer></script>`
        }
      </head>
      <body>
        <header>
          ${isFile ? html`<span class="brand">Highwater</span>` : html`<a class="brand" href="/">Highwater</a>`}
          <span class="where">${shown(where)}</span>
          <span class="asof" data-part="asof"
            >${asOf === null ? '' : html`as of <time datetime="${asOf}">${short(asOf)}</time>`}</span
          >
        </header>
        <main>
          ${
            isFile
              ? ''
              : html`<p class="card problem" id="live" role="status" hidden>
                  This page cannot reach the command that serves it. Start it again: npx highwater ui
                </p>`
          }
          ${body}
        </main>
      </body>
    </html>`;

const problemCard = (problem: string, asOf: string | null): Html =>
  html`<p class="card problem" role="alert">
    ${shown(`The Temporal server cannot be read: ${problem}`)}${
      asOf === null ? '' : ` What follows is as of ${short(asOf)}.`
    }
  </p>`;

/** The result of an action, as the page shows it. */
export interface Said {
  text: string;
  isProblem: boolean;
}

const saidCard = (said: Said | null): Html | '' =>
  said === null
    ? ''
    : html`<p class="card ${said.isProblem ? 'problem' : 'said'}" role="status">${shown(said.text)}</p>`;

/** Renders the list of all syncs. */
export function overviewPage(overview: Overview, filter: Filter, now: number): Html {
  const view = overviewView(overview, filter, now);
  const { problem, asOf, isCut } = overview;
  const here = (level: string | null) => {
    const query = new URLSearchParams({
      ...(level !== null && { level }),
      ...(filter.text !== '' && { q: filter.text }),
    });
    return `/?${query.toString()}`;
  };
  const body = html`
    <h1 class="visually-hidden">Syncs</h1>
    <div data-part="problem">${problem === null ? '' : problemCard(problem, asOf)}</div>
    <nav class="tally" data-part="tally" aria-label="Syncs by state">
      <a href="${here(null)}" id="level-all" ${filter.level === null ? raw('aria-current="true"') : ''}
        >${counted(view.all, 'sync')}</a
      >
      ${view.tally.map(
        ({ level, label }) =>
          html`<a
            href="${here(level)}"
            id="level-${level}"
            ${filter.level === level ? raw('aria-current="true"') : ''}
            ><span class="dot ${CLASSES[level]}"></span>${label}</a
          >`,
      )}
      <form action="/" role="search">
        ${filter.level === null ? '' : html`<input type="hidden" name="level" value="${filter.level}" />`}
        <input
          type="search"
          id="search"
          name="q"
          value="${filter.text}"
          placeholder="Find a sync"
          aria-label="Find a sync"
        />
      </form>
    </nav>
    ${
      view.rows.length === 0
        ? html`<p class="card" data-part="empty">${emptyText(overview, view.all)}</p>`
        : html`<ul class="list">
            <li class="sync head" aria-hidden="true">
              <span>state</span><span>sync</span><span class="number">passes</span
              ><span class="numbers"
                ><span class="number">rows</span><span class="number">lag</span
                ><span class="number">last pass</span><span class="number">next</span></span
              >
            </li>
            ${view.rows.map(syncItem)}
          </ul>`
    }
    ${isCut ? html`<p class="dim">More syncs exist than are shown.</p>` : ''}
  `;
  return layout({ title: 'Highwater', where: placeText(overview), asOf, body, isFile: false });
}

const emptyText = ({ asOf }: Overview, all: number): string =>
  all > 0
    ? 'No sync fits. Choose another state, or search for something else.'
    : asOf === null
      ? 'No syncs have been read yet.'
      : 'There are no syncs. Start one: npx highwater run highwater.yaml';

/** Cuts a text that has a page of its own. */
const cut = (text: string): string => (text.length <= 160 ? text : `${text.slice(0, 159)}…`);

const syncHref = (id: string): string => `/sync?id=${encodeURIComponent(id)}`;

function syncItem(row: Row): Html {
  const { id, name, standing, children } = row;
  return html`<li data-part="sync ${id}">
    <div class="sync">
      ${stateCell(standing)}
      <div>
        <a class="name" id="link ${id}" href="${syncHref(id)}">${shown(name)}</a>
        <p class="small">${shown(cut(standing.what))}</p>
        ${standing.todo === null ? '' : html`<p class="small todo">${shown(todoText(standing))}</p>`}
      </div>
      ${cells(row)}
    </div>
    ${
      children.length === 0
        ? ''
        : html`<details class="children" id="children ${id}">
            <summary>${counted(children.length, 'stream')}</summary>
            <ul>
              ${children.map((child) => childItem(child, id))}
            </ul>
          </details>`
    }
  </li>`;
}

const stateCell = ({ level, word }: Standing): Html =>
  html`<span class="state ${CLASSES[level]}"><span class="dot"></span>${shown(word)}</span>`;

const cells = ({ recent, rows, lag, lastPass, next }: Row): Html =>
  html`<span class="spark-cell">${raw(sparkline(recent) ?? '')}</span>
    <span class="numbers"
      ><span class="number">${rows === '' ? '' : html`<b>rows </b>${rows}`}</span
      ><span class="number">${lag === '' ? '' : html`<b>lag </b>${lag}`}</span
      ><span class="number">${lastPass === '' ? '' : html`<b>last pass </b>${lastPass}`}</span
      ><span class="number">${next === '' ? '' : html`<b>next </b>${next}`}</span></span
    >`;

const childItem = (row: Row, parent: string): Html =>
  html`<li class="sync child">
    ${stateCell(row.standing)}
    <div>
      <a class="name" href="${syncHref(row.id)}">${shown(row.id.slice(parent.length + 1))}</a>
      <p class="small dim">${shown(cut(row.standing.what))}</p>
    </div>
    ${cells(row)}
  </li>`;

/** Options of the page of a sync. */
export interface SyncPageOptions {
  now: number;
  /** The token of the page's forms; null: without actions. */
  token: string | null;
  said: Said | null;
  where: string;
}

/** Renders the page of one sync. */
export function syncPage(details: SyncDetails, { now, token, said, where }: SyncPageOptions): Html {
  const { family, parent, problem, asOf } = details;
  const id = encodeURIComponent(family.sync.id);
  const body = html`
    <nav class="small">
      <a href="/">All syncs</a
      >${parent === null ? '' : html` › <a href="${syncHref(parent)}">${shown(parent)}</a>`}
    </nav>
    <h1>${shown(family.sync.id)}</h1>
    <div data-part="problem">${problem === null ? '' : problemCard(problem, asOf)}</div>
    <div data-part="said">${saidCard(said)}</div>
    <section class="card standing ${CLASSES[familyStanding(family, now).level]}" data-part="standing">
      ${standingBody(details, now)} ${token === null ? '' : actionForms(family.sync, token)}
    </section>
    ${streamList(details, now, true)}
    <section class="card" data-part="facts">
      <h2 class="visually-hidden">Facts</h2>
      ${factList(details, now)}
      <p class="links small">
        ${details.webUi === null ? '' : html`<a href="${details.webUi}" rel="noopener">Open this run in the Temporal Web UI</a>`}
        <a href="/report?id=${id}" download>Save as a report</a>
      </p>
    </section>
    ${details.streams.map((stream) => streamSections(stream, now, false))}
  `;
  return layout({ title: `${family.sync.id} · Highwater`, where, asOf, body, isFile: false });
}

/** Renders the same as one file that needs nothing else. */
export function reportPage(details: SyncDetails, where: string, now: number): Html {
  const { family, streams, asOf } = details;
  const several = streamsOf(family).length > 0;
  const body = html`
    <h1>${shown(family.sync.id)}</h1>
    <section class="card standing ${CLASSES[familyStanding(family, now).level]}">
      ${standingBody(details, now)}
    </section>
    ${streamList(details, now, false)}
    <section class="card">
      <h2 class="visually-hidden">Facts</h2>
      ${factList(details, now)}
      ${details.webUi === null ? '' : html`<p class="small">Temporal Web UI: <code>${details.webUi}</code></p>`}
    </section>
    ${streams.map((stream) => streamSections(stream, now, several))}
  `;
  return layout({ title: `${family.sync.id} · Highwater`, where, asOf, body, isFile: true });
}

function standingBody({ family }: SyncDetails, now: number): Html {
  const standing = familyStanding(family, now);
  const { what, todo, command, places } = standing;
  return html`<p>${stateCell(standing)}</p>
    ${what === '' ? '' : html`<p class="headline">${shown(what)}</p>`}
    ${places.map((place) => html`<p class="dim small">${shown(place)}</p>`)}
    ${todo === null ? '' : html`<p class="todo">${shown(todoText(standing))}</p>`}
    ${command === null ? '' : html`<p class="todo"><code>npx ${shown(command)}</code></p>`}`;
}

const ACTION_LABELS: { [action in Action]: string } = {
  trigger: 'Start a pass now',
  pause: 'Pause',
  resume: 'Resume',
  approve: 'Approve: remove the rows',
  reject: 'Reject: keep the rows',
};

const actionForms = (sync: SyncFacts, token: string): Html =>
  html`<div class="actions">
    ${actionsFor(sync).map(
      (action) =>
        html`<form method="post" action="/action">
          <input type="hidden" name="token" value="${token}" />
          <input type="hidden" name="id" value="${sync.id}" />
          <button id="action-${action}" name="action" value="${action}">${ACTION_LABELS[action]}</button>
        </form>`,
    )}
  </div>`;

function streamList({ family }: SyncDetails, now: number, hasLinks: boolean): Html | '' {
  const { sync, children } = family;
  if (children.length === 0) return '';
  const queued = (sync.progress?.streams ?? []).filter(({ status }) => status === 'queued');
  return html`<section class="card" data-part="streams">
    <h2>Streams</h2>
    <div class="scroll">
      <table>
        <tr>
          <th>state</th>
          <th>stream</th>
          <th></th>
          <th class="number">rows</th>
          <th class="number">lag</th>
        </tr>
        ${children.map((child) => {
          const row = rowOf({ sync: child, children: [] }, now);
          const name = shown(child.id.slice(sync.id.length + 1));
          return html`<tr>
            <td>${stateCell(row.standing)}</td>
            <td>${hasLinks ? html`<a href="${syncHref(child.id)}">${name}</a>` : name}</td>
            <td class="text">${shown(cut(row.standing.what))}</td>
            <td class="number">${row.rows}</td>
            <td class="number">${row.lag}</td>
          </tr>`;
        })}
        ${queued.map(
          ({ stream }) =>
            html`<tr>
              <td>
                <span class="state idle"><span class="dot"></span>queued</span>
              </td>
              <td>${shown(stream)}</td>
              <td></td>
              <td></td>
              <td></td>
            </tr>`,
        )}
      </table>
    </div>
  </section>`;
}

const factList = (details: SyncDetails, now: number): Html =>
  html`<dl>
    ${factsView(details, now).map(
      ([name, text]) =>
        html`<dt>${name}</dt>
          <dd>${shown(text)}</dd>`,
    )}
  </dl>`;

/** Renders what is known about one stream; each part by itself, so that one that fails hides no other. */
function streamSections({ sync, destination, events }: StreamFacts, now: number, isNamed: boolean): Html {
  const recent = sync.progress?.recent ?? [];
  const lag = linePlot(lagOverTime(recent, now));
  const stored = 'value' in destination ? destination.value : null;
  const key = sync.id;
  return html`
    ${isNamed ? html`<h1>${shown(sync.stream ?? sync.id)}</h1>` : ''}
    <div class="plots" data-part="plots ${key}">
      <section class="card">
        <h3>Rows written</h3>
        ${rowsPlot(stored, recent, now)}
      </section>
      <section class="card">
        <h3>Lag</h3>
        ${lag === null ? html`<p class="dim small">It is known once a pass has ended.</p>` : raw(lag)}
      </section>
    </div>
    ${
      'problem' in destination
        ? html`<p class="card problem" data-part="destination ${key}">
            ${shown(`The destination cannot be read from here: ${destination.problem}`)}
          </p>`
        : ''
    }
    <section class="card" data-part="passes ${key}">
      <h2>Last passes</h2>
      ${recent.length === 0 ? html`<p class="dim">No pass has ended yet.</p>` : passTable(recent)}
      ${(sync.progress?.warnings ?? []).map(({ message }) => html`<p class="level-warn small">${shown(message)}</p>`)}
    </section>
    <section class="card" data-part="rejects ${key}">
      <h2>Quarantined records</h2>
      ${stored === null ? notRead : partOf(stored.rejects, rejectTable)}
    </section>
    <section class="card" data-part="changes ${key}">
      <h2>Schema changes</h2>
      ${stored === null ? notRead : partOf(stored.changes, changeTable)}
    </section>
    <section class="card" data-part="events ${key}">
      <h2>Requests and waits</h2>
      ${partOf(events, eventTable)}
    </section>
  `;
}

const notRead = html`<p class="dim">Not known: the destination was not read.</p>`;

const partOf = <T>(part: Part<T>, render: (value: T) => Html): Html =>
  'value' in part ? render(part.value) : html`<p class="level-warn small">${shown(part.problem)}</p>`;

function rowsPlot(
  stored: DestinationFacts | null,
  recent: NonNullable<SyncFacts['progress']>['recent'],
  now: number,
): Html {
  const commits = stored !== null && 'value' in stored.commits ? stored.commits.value : [];
  const plot = barPlot(commits.length > 0 ? rowsOverTime(commits, now) : rowsOfPasses(recent));
  const problem = stored !== null && 'problem' in stored.commits ? stored.commits.problem : null;
  return html`${plot === null ? html`<p class="dim small">Nothing has been written in the last 7 days.</p>` : raw(plot)}
  ${problem === null ? '' : html`<p class="level-warn small">${shown(problem)}</p>`}`;
}

const passTable = (recent: NonNullable<SyncFacts['progress']>['recent']): Html =>
  html`<div class="scroll">
    <table>
      <tr>
        <th>ended</th>
        <th>ended by</th>
        <th class="number">records</th>
        <th class="number">rows written</th>
        <th class="number">deleted</th>
        <th class="number">pages</th>
        <th class="number">took</th>
      </tr>
      ${recent.map((pass) => {
        const [ended, rule, ...numbers] = passCells(pass);
        return html`<tr>
          <td class="time">${ended}</td>
          <td><code>${shown(rule ?? '')}</code></td>
          ${numbers.map((cell) => html`<td class="number">${cell}</td>`)}
        </tr>`;
      })}
    </table>
  </div>`;

const rejectTable = ({
  total,
  latest,
}: {
  total: number;
  latest: { at: number; key: string; reason: string }[];
}): Html =>
  total === 0
    ? html`<p class="dim">None.</p>`
    : html`<p class="small">
          ${counted(total, 'record')} did not fit and ${total === 1 ? 'was' : 'were'} not stored.
          ${total > latest.length ? `The latest ${count(latest.length)}:` : ''}
        </p>
        <div class="scroll">
          <table>
            <tr>
              <th>when</th>
              <th>key</th>
              <th>reason</th>
            </tr>
            ${latest.map(
              ({ at, key, reason }) =>
                html`<tr>
                  <td class="time">${shortAt(at)}</td>
                  <td><code>${shown(key)}</code></td>
                  <td class="text">${shown(reason)}</td>
                </tr>`,
            )}
          </table>
        </div>`;

const changeTable = (changes: SchemaChange[]): Html =>
  changes.length === 0
    ? html`<p class="dim">None.</p>`
    : html`<div class="scroll">
        <table>
          <tr>
            <th>when</th>
            <th>column</th>
            <th>change</th>
          </tr>
          ${changes.map(
            ({ at, column, from, to }) =>
              html`<tr>
                <td class="time">${shortAt(at)}</td>
                <td><code>${shown(column)}</code></td>
                <td>${shown(from === null ? `added as ${to}` : `widened from ${from} to ${to}`)}</td>
              </tr>`,
          )}
        </table>
      </div>`;

const eventTable = (events: Event[]): Html =>
  events.length === 0
    ? html`<p class="dim">None yet.</p>`
    : html`<div class="scroll">
        <table>
          <tr>
            <th>when</th>
            <th>what</th>
          </tr>
          ${[...events].reverse().map(
            ({ time, level, text }) =>
              html`<tr>
                <td class="time">${short(time)}</td>
                <td class="text level-${level}">
                  ${level === 'info' ? '' : html`<span class="visually-hidden">${level}: </span>`}${shown(text)}
                </td>
              </tr>`,
          )}
        </table>
      </div>`;
