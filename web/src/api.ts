/** The server's HTTP side: worlds, rooms, addresses. */

import type { RoomInfo } from "./protocol";

export interface WorldCard {
  name: string;
  title: string;
  subjects: number;
  grid: [number, number];
  actions: string[];
  scenes: number;
  experimental: boolean;
}

export class ApiError extends Error {
  constructor(message: string, readonly status: number) {
    super(message);
  }
}

/** Return the key of an opened server: it stands in the address that people are invited with. */
export function roomKey(): string | null {
  return new URLSearchParams(location.search).get("key");
}

/** Return the room in the address, or null: then the worlds are shown. */
export function roomInAddress(): string | null {
  return new URLSearchParams(location.search).get("room");
}

/** Return a path of this server with the key. */
export function withKey(path: string, params: Record<string, string> = {}): string {
  const query = new URLSearchParams(params);
  const key = roomKey();
  if (key) query.set("key", key);
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/** Return the page's address of a room (or of the worlds). */
export function pageAddress(room: string | null): string {
  return withKey("/", room ? { room } : {});
}

/** Return the WebSocket address of a room. */
export function socketAddress(room: string): string {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return `${scheme}//${location.host}${withKey(`/ws/${encodeURIComponent(room)}`)}`;
}

/** Return the address of a scene's picture. */
export function thumbnail(world: string, scene: number): string {
  return withKey(`/api/worlds/${encodeURIComponent(world)}/${scene}.png`);
}

/** Return the address of what a room shows now: another one each time, so that it is asked for again. */
export function roomPicture(room: string): string {
  return withKey(`/api/rooms/${encodeURIComponent(room)}.png`, { t: String(Date.now()) });
}

/** Return the film of a world, its frames side by side; null where there is none, "later" where it is not made yet. */
export async function fetchFilm(world: string): Promise<ImageBitmap | null | "later"> {
  const response = await fetch(withKey(`/api/worlds/${encodeURIComponent(world)}/film.png`));
  if (response.status === 202) return "later";
  return response.status === 200 ? createImageBitmap(await response.blob()) : null;
}

async function request<T>(path: string, init?: RequestInit): Promise<T> {
  let response: Response;
  try {
    response = await fetch(withKey(path), init);
  } catch {
    throw new ApiError("The server does not answer. Is `actionparty play` still running?", 0);
  }
  const body = (await response.json().catch(() => ({}))) as { message?: string; error?: string | { message?: string } };
  if (response.ok) return body as T;
  const told = body.message ?? (typeof body.error === "string" ? body.error : body.error?.message);
  throw new ApiError(told ?? `The server refused (${response.status}).`, response.status);
}

/** Return the worlds that can be played. */
export const fetchWorlds = (): Promise<WorldCard[]> => request<WorldCard[]>("/api/worlds");

/** Return the rooms that are open now. */
export const fetchRooms = (): Promise<RoomInfo[]> => request<RoomInfo[]>("/api/rooms");

/** Open a room, from a scene of the world or a saved one, and return its id. */
export async function createRoom(world: string, scene: number, saved: string | null): Promise<string> {
  const answer = await request<{ room: string }>("/api/rooms", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(saved === null ? { world, scene } : { world, scene, saved }),
  });
  return answer.room;
}
