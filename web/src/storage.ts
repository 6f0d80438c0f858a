/** What the browser remembers for this person. Works, forgetfully, where storage is switched off. */

function read(storage: () => Storage, key: string): string | null {
  try {
    return storage().getItem(key);
  } catch {
    return null; // storage is refused in some private windows
  }
}

function write(storage: () => Storage, key: string, value: string): void {
  try {
    storage().setItem(key, value);
  } catch {
    // storage is full or refused: the page works without
  }
}

const local = (): Storage => window.localStorage;
const session = (): Storage => window.sessionStorage;

export const remembered = {
  get: (key: string): string | null => read(local, `actionparty.${key}`),
  set: (key: string, value: string): void => write(local, `actionparty.${key}`, value),
};

/** The seat token of a room; kept for this tab only, so that two tabs are two people. */
export const seatToken = {
  get: (room: string): string | null => read(session, `actionparty.token.${room}`),
  set: (room: string, token: string): void => write(session, `actionparty.token.${room}`, token),
};

const FIRST = ["Brisk", "Calm", "Merry", "Lucky", "Sunny", "Swift", "Bold", "Kind", "Witty", "Jolly"];
const SECOND = ["Otter", "Finch", "Fox", "Panda", "Heron", "Lynx", "Wren", "Koala", "Newt", "Robin"];

/** Return the name of this person, made up at the first visit. */
export function personName(): string {
  const known = remembered.get("name");
  if (known) return known;
  const pick = (list: string[]): string => list[Math.floor(Math.random() * list.length)]!;
  const name = `${pick(FIRST)} ${pick(SECOND)}`;
  remembered.set("name", name);
  return name;
}

export const NAME_LIMIT = 24;
