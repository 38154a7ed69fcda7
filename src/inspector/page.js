
// Everything that comes from the server, names of rooms included, is put into the page as text.

const EVERY = 2_000; // ms between two looks
const LATE = 10; // seconds after which a step of a call takes too long
const TOLD = 4_000; // ms for which a word stays

const $ = (selector, within = document) => within.querySelector(selector);
const base = location.pathname.replace(/\/?$/, '/') + 'api/';

/* ---- Words ------------------------------------------------------------- */

const number = { format: (count) => (count >= 100 ? whole : fine).format(count) };
const fine = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

function bytes(count) {
  for (const unit of ['B', 'KB', 'MB']) {
    if (count < 1_000) return `${number.format(count)} ${unit}`;
    count /= 1_000;
  }
  return `${number.format(count)} GB`;
}

function time(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
}

const short = (id) => `${id.slice(0, 6)}…`;

/* ---- Talking to the server ---------------------------------------------- */

let token = sessionStorage.getItem('inspector-token');

async function ask(path, query = {}, method = 'GET') {
  const headers = {};
  if (token) headers.authorization = `Bearer ${token}`;
  if (method === 'POST') headers['x-peer-data-inspector'] = '1';
  const response = await fetch(`${base}${path}?${new URLSearchParams(query)}`, { method, headers, cache: 'no-store' });
  if (response.status === 401) throw new Unknown();
  if (!response.ok) throw new Error(`the server answers ${response.status}`);
  return response.json();
}

class Unknown extends Error {}

/** While a room is open, all else is behind it, unseen and unheard: it has a place for this of its own. */
const places = document.querySelectorAll('.told');
let hush = null;
function tell(text) {
  for (const place of places) place.textContent = text;
  clearTimeout(hush);
  if (text !== '') hush = setTimeout(tell, TOLD, '');
}

async function sure(question) {
  const dialog = $('#sure');
  $('#sure-what').textContent = question;
  dialog.returnValue = 'no';
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener('close', resolve, { once: true }));
  return dialog.returnValue === 'yes';
}

async function change(path, query, done) {
  try {
    tell(done(await ask(path, query, 'POST')));
  } catch (error) {
    tell(`That did not work: ${error.message}.`);
  }
  look();
}

async function disconnect(peer) {
  if (await sure(`Disconnect ${peer.name ?? peer.id}?`)) {
    change('disconnect', { peer: peer.id }, ({ disconnected }) => (disconnected ? 'Disconnected.' : 'It had gone already.'));
  }
}

async function closeRoom(room) {
  if (await sure(`Take everybody out of ${room}?`)) {
    change('close', { room }, ({ members }) => `Closed: ${members} ${members === 1 ? 'member' : 'members'} taken out.`);
  }
}

/* ---- Tables: rows stay the same elements, so that focus stays where it is -- */

class Table {
  #rows = new Map();
  #columns;
  #key;
  #head;
  #body;
  #none;

  constructor(element, columns, key, { sort = null, onsort = null } = {}) {
    this.#columns = columns;
    this.#key = key;
    this.#body = $('tbody', element);
    this.#none = element.nextElementSibling?.matches('.none') ? element.nextElementSibling : null;
    const head = document.createElement('tr');
    for (const column of columns) {
      const cell = document.createElement('th');
      cell.scope = 'col';
      if (column.number) cell.className = 'number';
      if (column.sort && onsort) {
        const button = document.createElement('button');
        button.type = 'button';
        button.textContent = column.title;
        button.addEventListener('click', () => {
          const again = sort.by === column.sort;
          sort.order = again ? (sort.order === 'asc' ? 'desc' : 'asc') : column.number ? 'desc' : 'asc';
          sort.by = column.sort;
          this.#mark(head, sort);
          onsort();
        });
        cell.append(button);
      } else {
        cell.textContent = column.title;
      }
      head.append(cell);
    }
    this.#head = head;
    $('thead', element).replaceChildren(head);
    if (sort) this.#mark(head, sort);
  }

  #mark(head, sort) {
    this.#columns.forEach((column, at) => {
      const cell = head.cells[at];
      if (column.sort === sort.by) cell.setAttribute('aria-sort', sort.order === 'asc' ? 'ascending' : 'descending');
      else cell.removeAttribute('aria-sort');
    });
  }

  show(items) {
    const kept = new Map();
    items.forEach((item, at) => {
      const key = this.#key(item, at);
      const row = this.#rows.get(key) ?? this.#make();
      row.item = item;
      this.#columns.forEach((column, cell) => column.fill ? column.fill(row.element.cells[cell], item) : this.#text(row.element.cells[cell], column.text(item)));
      kept.set(key, row);
      if (this.#body.children[at] !== row.element) this.#body.insertBefore(row.element, this.#body.children[at] ?? null);
    });
    for (const [key, { element }] of this.#rows) if (!kept.has(key)) element.remove();
    this.#rows = kept;
    this.#columns.forEach((column, cell) => {
      if (!column.optional) return;
      const empty = items.every((item) => column.text(item) === '');
      this.#head.cells[cell].hidden = empty;
      for (const { element } of kept.values()) element.cells[cell].hidden = empty;
    });
    if (this.#none) this.#none.hidden = items.length > 0;
    this.#body.closest('.wide').hidden = items.length === 0 && this.#none !== null;
  }

  #text(cell, text) {
    if (cell.textContent !== text) cell.textContent = text;
  }

  #make() {
    const element = document.createElement('tr');
    const row = { element, item: null };
    for (const [at, column] of this.#columns.entries()) {
      const cell = document.createElement(at === 0 ? 'th' : 'td');
      if (at === 0) cell.scope = 'row';
      if (column.number) cell.className = 'number';
      if (column.wrap) cell.className = 'message';
      if (!column.bare) cell.dataset.label = column.title;
      column.make?.(cell, () => row.item);
      element.append(cell);
    }
    return row;
  }
}

const button = (label, act) => ({
  make(cell, item) {
    const made = document.createElement('button');
    made.type = 'button';
    made.addEventListener('click', () => act(item()));
    cell.append(made);
  },
  fill(cell, item) {
    const made = cell.firstElementChild;
    const { text, name, danger } = label(item);
    if (made.textContent !== text) made.textContent = text;
    if (name) made.setAttribute('aria-label', name);
    made.classList.toggle('danger', Boolean(danger));
    made.title = name ?? text;
  },
});

/** The server does not know it of who has just come, nor of anybody at the first look. */
const perSecond = (rate, say = number.format) => (rate === undefined ? '–' : say(rate));

const ROOMS = [
  { title: 'Room', sort: 'room', ...button(({ room }) => ({ text: room }), ({ room }) => openRoom(room)) },
  { title: 'Members', sort: 'members', number: true, text: ({ members }) => number.format(members) },
  { title: 'At other nodes', sort: 'elsewhere', optional: true, number: true, text: ({ elsewhere }) => (elsewhere > 0 ? number.format(elsewhere) : '') },
  { title: 'Members’ events per s', sort: 'events_per_s', number: true, text: ({ events_per_s }) => perSecond(events_per_s) },
  { title: 'Waiting', sort: 'queue', number: true, text: ({ queue }) => bytes(queue) },
];

const PEERS = [
  {
    title: 'Peer', sort: 'id',
    fill(cell, { id }) {
      if (cell.textContent === id) return;
      const code = document.createElement('code');
      code.textContent = id;
      cell.replaceChildren(code);
    },
  },
  { title: 'Name', sort: 'name', optional: true, text: ({ name }) => name ?? '' },
  { title: 'Wire', sort: 'wire', text: ({ wire }) => wire },
  {
    title: 'Transport', sort: 'transport',
    fill(cell, { transport }) {
      const text = transport ?? 'may come back';
      if (cell.textContent !== text) cell.textContent = text;
      cell.classList.toggle('away', transport === null);
    },
  },
  { title: 'Address', optional: true, text: ({ address }) => address ?? '' },
  { title: 'Age', sort: 'age', number: true, text: ({ age }) => time(age) },
  { title: 'Rooms', sort: 'rooms', number: true, text: ({ rooms }) => number.format(rooms) },
  { title: 'Events per s', sort: 'events_per_s', number: true, text: ({ events_per_s }) => perSecond(events_per_s) },
  { title: 'In per s', sort: 'received_per_s', number: true, text: ({ received_per_s }) => perSecond(received_per_s, bytes) },
  { title: 'Out per s', sort: 'sent_per_s', number: true, text: ({ sent_per_s }) => perSecond(sent_per_s, bytes) },
  { title: 'Waiting', sort: 'queue', number: true, text: ({ queue }) => bytes(queue) },
  { title: 'Action', bare: true, ...button(({ id, name }) => ({ text: 'Disconnect', name: `Disconnect ${name ?? id}`, danger: true }), disconnect) },
];

const RECENT = [
  { title: 'When', text: ({ ago }) => `${time(ago)} ago` },
  { title: 'Why', text: ({ code }) => code },
  { title: 'Message', wrap: true, text: ({ what, message }) => (what === 'rejected' ? 'an event of a peer' : message) },
  { title: 'Peer', optional: true, text: ({ peer }) => peer ?? '' },
  { title: 'Room', optional: true, text: ({ room }) => room ?? '' },
  { title: 'Address', optional: true, text: ({ address }) => address ?? '' },
];

/* ---- Lists with pages ----------------------------------------------------- */

class List {
  #panel;
  #path;
  #table;
  #sort;
  #page = 0;
  #pages = 1;
  #where;
  #moves;

  constructor(name, columns, key, sort) {
    this.#panel = $(`#panel-${name}`);
    this.#path = name;
    this.#sort = sort;
    this.#table = new Table($('.wide', this.#panel), columns, key, { sort, onsort: () => this.#turnTo(0) });
    let wait = null;
    $('input', this.#panel).addEventListener('input', () => {
      clearTimeout(wait);
      wait = setTimeout(() => this.#turnTo(0), 200);
    });
    const nav = $('.pages', this.#panel);
    this.#where = document.createElement('span');
    this.#moves = [['Previous', -1], ['Next', 1]].map(([label, step]) => {
      const made = document.createElement('button');
      made.type = 'button';
      made.textContent = label;
      made.addEventListener('click', () => this.#turnTo(this.#page + step));
      return made;
    });
    nav.append(this.#moves[0], this.#where, this.#moves[1]);
  }

  #turnTo(page) {
    this.#page = Math.max(0, page);
    look();
  }

  async look() {
    const { by, order } = this.#sort;
    const search = $('input', this.#panel).value;
    const { total, number: page, pages, rows } = await ask(this.#path, { search, sort: by, order, page: this.#page });
    this.#page = page;
    this.#pages = pages;
    this.#table.show(rows);
    this.#where.textContent = `${number.format(page + 1)} of ${number.format(pages)} (${number.format(total)})`;
    this.#moves[0].disabled = page === 0;
    this.#moves[1].disabled = page + 1 >= pages;
  }
}

const lists = {
  rooms: new List('rooms', ROOMS, ({ room }) => room, { by: 'members', order: 'desc' }),
  peers: new List('peers', PEERS, ({ id }) => id, { by: 'age', order: 'asc' }),
};
const refusals = new Table($('#refusals'), RECENT, (_, at) => at);
const endings = new Table($('#endings'), RECENT, (_, at) => at);
const members = new Table($('#members'), PEERS.map(({ sort, ...column }) => column), ({ id }) => id);

/* ---- Charts ---------------------------------------------------------------- */

const CHARTS = [
  ['Peers', ({ peers }) => peers],
  ['Rooms', ({ rooms }) => rooms],
  ['Events per s', ({ events, seconds }) => events / seconds],
  ['Deliveries per s', ({ deliveries, seconds }) => deliveries / seconds],
  ['Bytes per s', ({ received, sent, seconds }) => (received + sent) / seconds, bytes],
  ['Refused', ({ refused }) => refused],
  ['Ended', ({ ended }) => ended],
].map(([title, value, say = (count) => number.format(count)]) => {
  const figure = document.createElement('figure');
  const caption = document.createElement('figcaption');
  const [label, now] = [document.createElement('span'), document.createElement('b')];
  label.textContent = title;
  caption.append(label, now);
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 149 40');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  const [area, line] = ['path', 'polyline'].map((name) => document.createElementNS(svg.namespaceURI, name));
  svg.append(area, line);
  figure.append(caption, svg);
  $('#charts').append(figure);
  return (samples) => {
    const values = samples.map(value).filter(Number.isFinite);
    const most = Math.max(...values, 0);
    const points = values.map((count, at) => [149 - (values.length - 1 - at), 40 - (most > 0 ? (count / most) * 38 : 0)]);
    line.setAttribute('points', points.map((point) => point.join()).join(' '));
    area.setAttribute('d', points.length > 0 ? `M${points[0][0]},40 L${points.map((point) => point.join()).join(' L')} L149,40 Z` : '');
    now.textContent = values.length > 0 ? say(values.at(-1)) : '–';
    svg.setAttribute('aria-label', `${title}: ${now.textContent} now, at most ${say(most)} in the last five minutes`);
  };
});

/* ---- A room ------------------------------------------------------------------ */

let opened = null;

function openRoom(room) {
  opened = room;
  $('#room-name').textContent = room;
  $('#room-facts').textContent = '';
  $('#pairs').replaceChildren();
  members.show([]);
  $('#room').showModal();
  look();
}

$('#room').addEventListener('close', () => { opened = null; });
$('#leave-room').addEventListener('click', () => $('#room').close());
$('#close-room').addEventListener('click', () => closeRoom(opened));

async function lookAtRoom(name) {
  const room = await ask('room', { name });
  if (name !== opened) return;
  const names = new Map(room.members.map((peer) => [peer.id, peer.name ?? short(peer.id)]));
  const called = (id) => names.get(id) ?? short(id);
  const shown = room.members.length < room.total ? `, the first ${room.members.length} are shown` : '';
  const elsewhere = room.elsewhere > 0 ? `, and ${number.format(room.elsewhere)} at other nodes` : '';
  $('#room-facts').textContent = `${number.format(room.total)} ${room.total === 1 ? 'member' : 'members'} here${shown}${elsewhere}`;
  members.show(room.members);
  const list = $('#pairs');
  while (list.children.length > room.pairs.length) list.lastElementChild.remove();
  room.pairs.forEach((pair, at) => {
    const item = list.children[at] ?? list.appendChild(document.createElement('li'));
    const text = `${called(pair.from)} → ${called(pair.to)}: ${stateOf(pair, called)}`;
    if (item.textContent !== text) item.textContent = text;
    item.dataset.state = pair.state;
    item.toggleAttribute('data-late', pair.state !== 'negotiated' && pair.seconds >= LATE);
  });
  // Two offers that met are of one pair.
  const seen = new Set(room.pairs.map(({ from, to }) => [from, to].sort().join())).size;
  const more = room.pairs_begun - seen;
  // Not that they have not begun: offers from before it was there the inspector does not know.
  const silent = room.pairs_total - room.pairs_begun;
  const words = [];
  if (more > 0) words.push(more === 1 ? 'One more pair is not shown.' : `${number.format(more)} more pairs are not shown.`);
  if (silent > 0) words.push(silent === 1 ? 'Of one pair no offer is known.' : `Of ${number.format(silent)} pairs no offer is known.`);
  $('#more-pairs').textContent = words.join(' ');
  $('#more-pairs').hidden = words.length === 0;
}

function stateOf({ from, to, state, seconds, candidates, glare }, called) {
  const both = glare ? ' (both have offered)' : '';
  if (state === 'offered') return `offer unanswered for ${time(seconds)}${both}`;
  if (state === 'answered') {
    const silent = [from, to].filter((_, at) => candidates[at] === 0).map(called);
    return `answered ${time(seconds)} ago, no candidates from ${silent.join(' and ')}${both}`;
  }
  return `negotiated ${time(seconds)} ago, ${candidates[0]} and ${candidates[1]} candidates${both}`;
}

/* ---- Tabs --------------------------------------------------------------------- */

const tabs = [...$('#tabs').children];
let tab = 'rooms';

function choose(name) {
  tab = name;
  for (const each of tabs) {
    const chosen = each.id === `tab-${name}`;
    each.setAttribute('aria-selected', chosen);
    each.tabIndex = chosen ? 0 : -1;
    $(`#${each.getAttribute('aria-controls')}`).hidden = !chosen;
  }
}

for (const each of tabs) {
  each.addEventListener('click', () => { choose(each.id.slice(4)); look(); });
  each.addEventListener('keydown', ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (step === undefined) return;
    const next = tabs[(tabs.indexOf(each) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  });
}

/* ---- Looking ---------------------------------------------------------------- */

let paused = false;
let timer = null;
let turn = 0;

$('#pause').addEventListener('click', () => {
  paused = !paused;
  $('#pause').setAttribute('aria-pressed', paused);
  look();
});

$('#sign-in').addEventListener('submit', (event) => {
  event.preventDefault();
  token = event.target.elements.token.value;
  sessionStorage.setItem('inspector-token', token);
  look();
});

async function look() {
  clearTimeout(timer);
  const mine = (turn += 1);
  try {
    const overview = await ask('overview');
    await lists[tab]?.look();
    if (opened !== null) await lookAtRoom(opened);
    if (mine !== turn) return;
    show(overview);
  } catch (error) {
    if (mine !== turn) return;
    if (error instanceof Unknown) return askWho();
    say(`No answer: ${error.message}. Trying again.`, true);
  }
  if (!paused) timer = setTimeout(look, EVERY);
}

function show({ version, ready, peers, rooms, samples, refusals: refused, endings: ended }) {
  $('#content').hidden = false;
  $('#sign-in').hidden = true;
  say(`${number.format(peers)} ${peers === 1 ? 'peer' : 'peers'} in ${number.format(rooms)} ${rooms === 1 ? 'room' : 'rooms'}, ${ready ? 'takes new clients' : 'takes no new clients'}. Version ${version}${paused ? ', paused' : ''}.`, !ready);
  $('#tab-rooms .count').textContent = number.format(rooms);
  $('#tab-peers .count').textContent = number.format(peers);
  // The last sample may be two seconds old.
  const drawn = (samples ?? []).map((sample, at, all) => (at + 1 < all.length ? sample : { ...sample, peers, rooms }));
  CHARTS.forEach((draw) => draw(drawn));
  refusals.show(refused ?? []);
  endings.show(ended ?? []);
}

function say(text, bad = false) {
  const state = $('#state');
  if (state.textContent !== text) state.textContent = text;
  state.toggleAttribute('data-bad', bad);
}

function askWho() {
  $('#content').hidden = true;
  $('#sign-in').hidden = false;
  $('#sign-in-why').textContent = token ? 'That token is not the right one.' : 'This server asks for a token.';
  say('Not shown.');
  $('#sign-in input').focus();
}

choose(tab);
look();
