'use strict';

// Polls the admin listener every two seconds, and shows its responses. openapi.json describes the requests.

const EVERY = 2000;
const KEPT = 60;
const $ = id => document.getElementById(id);
const series = { rate: [], p50: [], p99: [], parked: [] };
let before = null;
let drawn = '';

/** An element with text or child elements. */
function element(name, attributes, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
    else if (value !== null) made.setAttribute(key, value);
  }
  made.append(...content);
  return made;
}

function say(text, bad = false) {
  $('said').textContent = text;
  $('said').classList.toggle('bad', bad);
}

async function ask(path, options = {}) {
  const token = sessionStorage.getItem('token');
  const headers = { ...options.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path, { ...options, headers, cache: 'no-store' });
  if (answer.status === 401) throw new Unauthorized();
  if (options.method && !answer.ok) throw new Error((await answer.json()).error);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return (answer.headers.get('content-type') ?? '').includes('json') ? answer.json() : answer.text();
}

class Unauthorized extends Error {
  constructor() {
    super('the server requires its token');
  }
}

/** The lines of the metrics: name, labels, value. */
function parse(text) {
  return text.split('\n').filter(line => line && !line.startsWith('#')).map(line => {
    const [, name, , labels, value] = line.match(/^([^{ ]+)(\{(.*)\})? (\S+)$/) ?? [];
    const pairs = [...(labels ?? '').matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)];
    return { name, labels: Object.fromEntries(pairs.map(([, key, text]) => [key, text])), value: Number(value) };
  });
}

const sum = (lines, name, fits = () => true) =>
  lines.filter(line => line.name === name && fits(line.labels)).reduce((total, line) => total + line.value, 0);

/** The cumulative counts of all response histograms together, by upper bound. */
function buckets(lines) {
  const counts = new Map();
  for (const { name, labels, value } of lines) {
    if (name !== 'http_server_request_duration_seconds_bucket') continue;
    const bound = labels.le === '+Inf' ? Infinity : Number(labels.le);
    counts.set(bound, (counts.get(bound) ?? 0) + value);
  }
  return [...counts].sort(([one], [other]) => one - other);
}

/** The upper bound of this quantile, over the responses since the last poll. */
function quantile(share, now, then) {
  const old = new Map(then);
  const grown = now.map(([bound, count]) => [bound, count - (old.get(bound) ?? 0)]);
  const all = grown.at(-1)?.[1] ?? 0;
  if (all === 0) return null;
  return grown.find(([, count]) => count >= share * all)?.[0] ?? null;
}

const duration = seconds =>
  seconds === null ? '–' : seconds === Infinity ? '> 5 min' : seconds < 1 ? `${Math.round(seconds * 10000) / 10} ms` : `${Math.round(seconds * 10) / 10} s`;

function push(name, value) {
  series[name].push(value);
  if (series[name].length > KEPT) series[name].shift();
}

function draw(chart, ...names) {
  const most = Math.max(1e-9, ...names.flatMap(name => series[name]).filter(Number.isFinite));
  const line = name => {
    let pen = 'M';
    const steps = series[name].map((value, index) => {
      // A gap for missing values.
      if (value === null) {
        pen = 'M';
        return '';
      }
      const x = 240 - (series[name].length - 1 - index) * (240 / (KEPT - 1));
      const step = `${pen}${x.toFixed(1)} ${(46 - 44 * Math.min(1, value / most)).toFixed(1)}`;
      pen = 'L';
      return step;
    });
    const made = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    made.setAttribute('d', steps.join(''));
    return made;
  };
  $(chart).replaceChildren(...names.map(line));
}

function figures(rows) {
  $('figures').replaceChildren(...rows.map(([name, value]) =>
    element('div', {}, element('dt', {}, name), element('dd', {}, value))));
}

function rows(table, all, none, columns) {
  const body = $(table).tBodies[0];
  const cells = row => columns.map(([of, number]) => element('td', number ? { class: 'number' } : {}, String(of(row) ?? '–')));
  const empty = element('tr', {}, element('td', { colspan: columns.length }, none));
  body.replaceChildren(...(all.length ? all.map(row => element('tr', {}, ...cells(row))) : [empty]));
}

async function act(what, path, options) {
  say(`${what}…`);
  try {
    const record = await ask(path, options);
    say(record.unchanged ? `${what}: generation ${record.generation} already has this component` : `${what}: generation ${record.generation}`);
  } catch (error) {
    say(`${what}: ${error.message}`, true);
  }
  run();
}

const deploy = (app, file) => file && act(`${app}: deploy of ${file.name}`, `apps/${app}`, {
  method: 'PUT', body: file, headers: { 'linger-source': encodeURI(file.name) },
});

function generation(record) {
  const why = record.error ? element('div', { class: 'refused' }, record.error) : '';
  const counts = record.requests ?? {};
  const state = record.canary && record.state === 'canary' ? `canary: ${record.canary}` : record.state;
  return element('tr', { 'data-generation': record.generation },
    element('td', { class: 'number' }, String(record.generation)),
    element('td', {}, state, why),
    element('td', {}, record.source, element('div', {}, element('small', {}, record.digest.slice(0, 12)))),
    element('td', {}, element('time', { datetime: new Date(record.at).toISOString() }, new Date(record.at).toLocaleTimeString())),
    ...['running', 'ended', 'failed'].map(name => element('td', { class: 'number', 'data-count': name }, String(counts[name] ?? '–'))));
}

const inProgress = ({ requests, instances }) => `${requests} in-flight, ${instances} instances`;

function app({ app: name, generations, ...counts }) {
  const post = what => () => act(`${name}: ${what}`, `apps/${name}/${what}`, { method: 'POST' });
  const has = state => generations.some(record => record.state === state);
  const button = (what, text) => element('button', { 'data-action': `${name}/${what}`, onclick: post(what) }, text);
  const input = element('input', { type: 'file', 'data-action': `${name}/deploy`, accept: '.wasm,application/wasm', onchange: event => deploy(name, event.target.files[0]) });
  const buttons = [element('label', { class: 'file' }, `Deploy to ${name}…`, input)];
  if (has('canary')) {
    buttons.push(button('promote', 'Promote'), button('abort', 'Abort'));
  }
  if (has('previous')) buttons.push(button('rollback', 'Roll back'));
  const over = on => event => {
    event.preventDefault();
    event.currentTarget.classList.toggle('over', on);
  };
  const head = ['Generation', 'State', 'Component', 'Deployed', 'In-flight', 'Ended', 'Failed'];
  const header = head.map((text, index) => element('th', { scope: 'col', class: index === 0 || index > 3 ? 'number' : null }, text));
  return element('article', {
    class: 'app', 'data-app': name, ondragover: over(true), ondragleave: over(false),
    ondrop: event => { over(false)(event); deploy(name, event.dataTransfer.files[0]); },
  },
  element('header', {}, element('h3', {}, name), element('p', { 'data-count': 'progress' }, inProgress(counts)), element('div', { class: 'actions' }, ...buttons)),
  element('table', {}, element('thead', {}, element('tr', {}, ...header)), element('tbody', {}, ...generations.slice(0, 5).map(generation))));
}

/** Counts change often: they are updated in place, so that a pressed button stays the same element. */
function showCounts({ app: name, generations, ...counts }) {
  const place = document.querySelector(`[data-app="${CSS.escape(name)}"]`);
  place.querySelector('[data-count=progress]').textContent = inProgress(counts);
  for (const { generation: number, requests } of generations) {
    for (const cell of place.querySelectorAll(`[data-generation="${number}"] [data-count]`)) {
      cell.textContent = String(requests?.[cell.dataset.count] ?? '–');
    }
  }
}

function showApps(apps) {
  const next = JSON.stringify(apps.map(({ app, generations }) => [app, generations.map(({ requests, ...rest }) => rest)]));
  if (next === drawn) return apps.forEach(showCounts);
  drawn = next;
  // The focused element is drawn anew, and keeps the focus.
  const focused = document.activeElement?.dataset.action;
  $('apps').replaceChildren(...apps.map(app));
  if (focused) document.querySelector(`[data-action="${CSS.escape(focused)}"]`)?.focus();
}

function showMetrics(lines) {
  const now = { time: performance.now(), ended: sum(lines, 'linger_requests_total'), buckets: buckets(lines) };
  // A restarted server counts from zero.
  if (before && now.ended < before.ended) before = null;
  if (before) {
    const rate = (now.ended - before.ended) / ((now.time - before.time) / 1000);
    const [p50, p99] = [0.5, 0.99].map(share => quantile(share, now.buckets, before.buckets));
    push('rate', rate);
    push('p50', p50);
    push('p99', p99);
    $('rate').textContent = rate.toFixed(rate < 10 ? 1 : 0);
    $('latency').textContent = p50 === null ? 'no responses' : `${duration(p50)}, ${duration(p99)}`;
  }
  before = now;
  const parked = sum(lines, 'linger_parked');
  push('parked', parked);
  $('parked').textContent = String(parked);
  draw('rate-chart', 'rate');
  draw('latency-chart', 'p99', 'p50');
  draw('parked-chart', 'parked');
  figures([
    ['Connections', sum(lines, 'linger_connections')],
    ['In-flight requests', sum(lines, 'http_server_active_requests')],
    ['Instances', sum(lines, 'linger_instances')],
    ['Events', sum(lines, 'linger_events')],
    ['Traps', sum(lines, 'linger_traps_total')],
    ['Memory', `${Math.round(sum(lines, 'process_resident_memory_bytes') / 1048576)} MiB`],
  ].map(([name, value]) => [name, String(value)]));
  const endings = lines.filter(line => line.name === 'linger_requests_total').sort((one, other) => other.value - one.value);
  rows('endings', endings, 'none yet', [
    [row => row.labels.app], [row => row.labels.outcome], [row => row.labels.reason], [row => row.value, true],
  ]);
}

async function look() {
  const [metrics, { apps }, { requests }, { queues }, { topics }] = await Promise.all(
    ['metrics', 'apps', 'requests?limit=20', 'queues', 'topics'].map(path => ask(path)));
  showMetrics(parse(metrics));
  showApps(apps);
  rows('requests', requests, 'none', [
    [row => row.app], [row => row.generation], [row => `${row.method} ${row.uri}`], [row => row.client],
    [row => row.cancelled ? `${row.state}, cancelled: ${row.cancelled}` : row.state], [row => duration(row.age), true],
  ]);
  rows('queues', queues, 'no queue has an event or a consumer', [
    [row => row.queue], ...['ready', 'delayed', 'leased', 'waiting', 'bytes'].map(key => [row => row[key], true]),
    [row => row.dead_letters ?? ''],
  ]);
  rows('topics', topics, 'none', [
    [row => row.topic], ...['events', 'waiting', 'bytes'].map(key => [row => row[key], true]), [row => row.end],
  ]);
}

/** Changes the text only if it differs, so that screen readers repeat nothing. */
function state(text, bad = false) {
  if ($('state').textContent !== text) $('state').textContent = text;
  $('state').classList.toggle('bad', bad);
}

let timer = null;
let looking = false;

/** Polls now, and then periodically. Only one call polls at a time. */
async function run() {
  clearTimeout(timer);
  if (looking) return;
  looking = true;
  try {
    await look();
    state('connected');
    $('seen').textContent = new Date().toLocaleTimeString();
    $('main').hidden = false;
    $('token').hidden = true;
  } catch (error) {
    state(error instanceof Unauthorized ? 'the server requires its token (admin.token)' : `no response: ${error.message}`, true);
    if (error instanceof Unauthorized) {
      $('main').hidden = true;
      $('token').hidden = false;
      return;
    }
  } finally {
    looking = false;
  }
  timer = setTimeout(run, EVERY);
}

$('token').addEventListener('submit', event => {
  event.preventDefault();
  sessionStorage.setItem('token', new FormData(event.target).get('token'));
  run();
});
// The browser must not open a file that is dropped beside an app.
for (const kind of ['dragover', 'drop']) document.addEventListener(kind, event => event.preventDefault());
run();
