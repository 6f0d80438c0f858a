/** One WebSocket to a room that comes back by itself. Knows messages, not what they mean to the page. */

import type { ClientMessage, ServerMessage } from "./protocol";

export interface ConnectionEvents {
  open(): void;
  message(message: ServerMessage): void;
  binary(data: ArrayBuffer): void;
  /** The connection is gone; `attempt` counts the tries to come back since it last worked. */
  lost(attempt: number): void;
}

const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 5000;

/** Return how long to wait before try `attempt` (from 1): doubling, with a little chance so that pages spread out. */
export function waitBefore(attempt: number, chance = Math.random()): number {
  return Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (attempt - 1)) * (0.8 + 0.4 * chance);
}

export class Connection {
  private socket: WebSocket | null = null;
  private attempt = 0;
  private timer = 0;
  private ended = false;

  constructor(private readonly url: string, private readonly events: ConnectionEvents) {
    this.connect();
  }

  /** Send a message, or drop it where there is no connection: old actions are worth nothing. */
  send(message: ClientMessage): boolean {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  /** End for good. */
  close(): void {
    this.ended = true;
    window.clearTimeout(this.timer);
    this.socket?.close(1000);
  }

  /** Try again at once. */
  retry(): void {
    if (this.socket || this.ended) return;
    window.clearTimeout(this.timer);
    this.connect();
  }

  /** Drop the connection and open it anew, for example under another name. */
  renew(): void {
    this.socket?.close(1000);
  }

  private connect(): void {
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => this.events.open();
    socket.onmessage = (event: MessageEvent<string | ArrayBuffer>) => {
      this.attempt = 0;
      if (typeof event.data === "string") this.events.message(JSON.parse(event.data) as ServerMessage);
      else this.events.binary(event.data);
    };
    socket.onclose = () => this.onClose(socket);
  }

  private onClose(socket: WebSocket): void {
    if (socket !== this.socket) return;
    this.socket = null;
    if (this.ended) return;
    this.attempt += 1;
    this.events.lost(this.attempt);
    if (!this.ended) this.timer = window.setTimeout(() => this.connect(), waitBefore(this.attempt));
  }
}
