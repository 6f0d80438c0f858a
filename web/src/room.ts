/** A room on the screen: puts connection, state, stage and controls together. */

import { Actor, meaningOf, type ActorMessage, type Meaning, type Sight } from "./actor";
import { fetchRooms, fetchWorlds, pageAddress, socketAddress, type WorldCard } from "./api";
import { BranchList } from "./branches";
import { Connection } from "./connection";
import { Gamepads, Keyboard, Legend, Meter, TouchPad } from "./controls";
import { h, icon, iconButton, setText } from "./dom";
import { Editor } from "./editor";
import { WorldGrid } from "./gallery";
import { openInvite } from "./invite";
import { steeringOf, type Intent, type Steering } from "./keys";
import { logo } from "./logo";
import { openDialog } from "./menu";
import { Notices } from "./notices";
import { decodePng } from "./pictures";
import type { ClientMessage, ServerMessage } from "./protocol";
import { SeatList } from "./seats";
import { Stage } from "./stage";
import { freeSeat, initialState, isFree, maySteer, mySeat, reduce, type RoomEvent, type RoomState } from "./state";
import { NAME_LIMIT, personName, remembered, seatToken } from "./storage";
import { themeButton } from "./theme";
import { Transfers } from "./transfers";
import { Transport } from "./transport";
import { FrameDecoder, type FrameMessage, parseFrame } from "./wire";

const PING_EVERY_MS = 2000;
/** Tries to come back before the page says that the server is gone; it goes on trying. */
const TRIES_BEFORE_GONE = 4;
/** Errors after which coming back is no use. */
const FINAL = ["no_room", "full"];
/** Steps without a frame of the simulator after which it no longer runs beside. */
const STEPS_BEFORE_LOST = 8;

export interface RoomOptions {
  room: string;
  /** Take the first free seat at once. */
  takeSeat: boolean;
  /** Show the worlds again. */
  leave: () => void;
}

/** Let the keys go to the subject again after a click or a choice; whoever goes by the Tab key keeps the focus. */
function freeKeys(event: Event): void {
  const { target } = event;
  if (!(target instanceof HTMLElement)) return;
  const clicked = event instanceof MouseEvent && event.detail > 0 ? target.closest("button, input[type=range]") : null;
  const chosen = event.type === "change" && target.matches("select") ? target : null;
  ((clicked ?? chosen) as HTMLElement | null)?.blur();
}

export class Room {
  readonly root: HTMLElement;
  private state: RoomState;
  private readonly notices = new Notices();
  private readonly stage: Stage;
  private readonly seats: SeatList;
  private readonly transport: Transport;
  private readonly branches = new BranchList((branch) => this.send({ type: "branch", branch }));
  private readonly legend = new Legend();
  private readonly touch: TouchPad;
  private readonly editor: Editor;
  private readonly transfers: Transfers;
  private readonly meter = new Meter();
  private readonly keyboard: Keyboard;
  private readonly gamepads: Gamepads;
  private readonly actor: Actor;
  private readonly connection: Connection;
  private readonly title = h("span", {});
  private readonly people = h("span", { class: "people" });
  private readonly prompt = h("p", { class: "prompt" });
  private readonly decoders = { generated: new FrameDecoder(decodePng), simulated: new FrameDecoder(decodePng) };
  private readonly timer: number;
  private queue: Promise<void> = Promise.resolve();
  private steering: Steering = steeringOf(remembered.get("steering"));
  private checking = false;
  /** The simulator's newest frame, while it runs beside. */
  private simulated: FrameMessage | null = null;
  private inside = false;
  private wantsSeat: boolean;
  /** A seat was asked for and the answer is not here yet. */
  private taking = false;
  /** Whether this connection has been welcomed: every new beginning of the world says welcome again. */
  private welcomed = false;
  /** Whether the world began anew and no frame of it has come yet. */
  private begun = false;
  private shownWorld = "";

  constructor(private readonly options: RoomOptions) {
    this.state = initialState(options.room);
    this.wantsSeat = options.takeSeat;
    this.transfers = new Transfers((message) => this.send(message), (message, kind) => this.notices.say(message, kind));
    this.stage = new Stage({ pointer: (kind, x, y) => this.onPointer(kind, x, y) });
    this.seats = new SeatList({
      take: (subject) => this.take(subject),
      leave: () => this.send({ type: "leave" }),
      assign: (subject, kind) => this.send({ type: "seat", subject, kind }),
      point: (subject) => this.stage.point(subject),
    });
    this.transport = new Transport({
      toggle: () => this.toggle(),
      step: () => this.pausedThen({ type: "step" }),
      reset: (fresh) => void this.reset(fresh),
      speed: (hz) => this.send({ type: "speed", hz }),
      scrub: (step) => this.pausedThen({ type: "scrub", step }),
      fork: (step) => this.send({ type: "fork", step }),
      inside: () => this.toggleInside(),
      check: () => this.toggleCheck(),
      edit: () => this.toggleEdit(),
      exportAs: (format) => this.transfers.exportAs(format),
    });
    this.editor = new Editor(this.stage, {
      edit: (ops) => this.send({ type: "edit", ops }),
      palette: () => this.send({ type: "palette" }),
      save: () => this.send({ type: "save_scene" }),
      load: (file) => void this.transfers.open(file),
      share: () => this.transfers.share(),
      done: () => this.toggleEdit(),
      say: (message) => this.notices.say(message),
    });
    this.actor = new Actor((intent, straight) => this.resolve(intent, straight), () => this.look(), (message) => this.act(message));
    this.touch = new TouchPad(this.actor);
    const actions = (): readonly string[] => this.state.world?.actions ?? [];
    this.keyboard = new Keyboard(this.actor, this.legend, actions, {
      other: (event) => this.otherKey(event),
      playing: () => !this.editor.active && !document.querySelector("dialog[open]"),
      steer: (steering) => this.steer(steering),
    });
    this.gamepads = new Gamepads(this.actor, actions, () => this.notices.say("Gamepad ready."));
    this.root = this.build();
    this.connection = new Connection(socketAddress(options.room), {
      open: () => this.hello(),
      message: (message) => this.enqueue(() => this.onMessage(message)),
      binary: (data) => this.enqueue(() => this.onFrame(data)),
      lost: (attempt) => void this.onLost(attempt),
    });
    this.timer = window.setInterval(() => this.ping(), PING_EVERY_MS);
  }

  private build(): HTMLElement {
    const worlds = h("button", { type: "button", class: "world-title", title: "Change the world", onclick: () => this.changeWorld() }, this.title, icon("grid"));
    return h(
      "div", { class: "room-view", onclick: freeKeys, onchange: freeKeys },
      h("header", { class: "topbar" },
        h("button", { type: "button", class: "brand", "aria-label": "ActionParty: all worlds", onclick: () => this.options.leave() }, logo(), h("span", {}, "ActionParty")),
        h("div", { class: "heading" }, worlds, this.branches.root, h("span", { class: "spacer" }), this.meter.root, this.people),
        iconButton("invite", "Invite friends", () => this.invite(), "Invite"), themeButton()),
      this.notices.banner,
      h("main", { class: "play" }, h("div", { class: "centre" }, this.stage.root, this.prompt, this.notices.root),
        h("aside", { class: "side" }, this.seats.root, this.legend.root)),
      this.editor.root, this.transport.root, this.touch.root,
    );
  }

  /** Leave the room for good. */
  close(): void {
    window.clearInterval(this.timer);
    this.connection.close();
    this.keyboard.close();
    this.gamepads.close();
    this.root.remove();
  }

  private send(message: ClientMessage): void {
    if (!this.connection.send(message)) this.notices.say("Not connected: this did not reach the server.", "error");
  }

  private hello(): void {
    this.welcomed = false;
    this.decoders.generated.reset();
    this.decoders.simulated.reset();
    this.connection.send({ type: "hello", name: personName().slice(0, NAME_LIMIT), token: seatToken.get(this.options.room) });
  }

  private ping(): void {
    if (this.state.phase === "live") this.connection.send({ type: "ping", t: performance.now() });
  }

  /** Handle messages one after another: pictures take time to decode. */
  private enqueue(work: () => void | Promise<void>): void {
    this.queue = this.queue.then(work).catch((error: unknown) => {
      console.error(error);
      this.notices.say("A message could not be read; connecting anew.", "error");
      this.connection.renew();
    });
  }

  private async onFrame(data: ArrayBuffer): Promise<void> {
    const frame = parseFrame(data);
    const decoder = frame.simulator ? this.decoders.simulated : this.decoders.generated;
    const { picture } = await decoder.decode(frame);
    if (frame.simulator) {
      this.simulated = frame;
      return this.stage.showSimulated(picture);
    }
    const advanced = frame.step > this.state.step;
    this.stage.showGenerated(picture, frame);
    this.change({ type: "frame", frame });
    if (this.simulated && this.checking) this.follow(this.simulated);
    if (advanced) this.stage.celebrate(this.state);
    this.meter.tick();
    if (this.begun) this.actor.repeat();
    else this.actor.refresh();
    this.begun = false;
  }

  /** Notice when the simulator no longer runs beside: it can't follow into a branch or an edited scene. */
  private follow(simulated: FrameMessage): void {
    const { step, branch, paused } = this.state;
    if (step !== simulated.step && paused) this.stage.forgetDifferences();
    if (branch !== simulated.branch || step - simulated.step > STEPS_BEFORE_LOST) this.setChecking(false);
  }

  private onMessage(message: ServerMessage): void {
    switch (message.type) {
      case "notice":
        return this.notices.say(message.message);
      case "error":
        return this.onError(message.code, message.message);
      case "pong":
        return this.change({ type: "latency", ms: performance.now() - message.t });
      case "palette":
        return void this.editor.showPalette(message.png, message.count);
      case "exported":
        return this.transfers.arrived(message.url, message.name, this.state.world!.name, message.saved);
      case "overlay":
        return this.inside ? this.change(message) : undefined;
      case "closed":
        this.change(message);
        return this.ended(message.reason);
      default:
        this.onState(message);
    }
  }

  /** Take over what the server says of the room. A seat just taken knows of no key, and none does after a welcome. */
  private onState(message: ServerMessage): void {
    const [seat, asked] = [mySeat(this.state)?.subject, this.taking];
    if (message.type === "seats") this.taking = false;
    this.change(message);
    const moved = mySeat(this.state)?.subject !== seat && !asked; // what is said right after asking for a seat arrives there
    if (message.type === "welcome") this.onWelcome();
    else if (moved) this.actor.repeat();
  }

  private onError(code: string, message: string): void {
    this.taking = false;
    if (this.checking && !this.simulated) this.setChecking(false);
    if (FINAL.includes(code)) this.ended(message);
    else this.notices.say(message, "error");
  }

  private onWelcome(): void {
    this.begun = true;
    seatToken.set(this.options.room, this.state.token!);
    if (this.welcomed) return;
    this.welcomed = true;
    this.notices.settle();
    this.ping();
    if (this.inside) this.connection.send({ type: "overlay", on: true });
    if (this.checking) this.connection.send({ type: "check", on: true });
    if (this.wantsSeat && !mySeat(this.state)) this.takeFirst();
    this.wantsSeat = false;
  }

  private change(event: RoomEvent): void {
    this.state = reduce(this.state, event);
    const { state } = this;
    if (!state.world) return;
    if (this.shownWorld !== state.world.name) this.showWorld();
    this.stage.update(state);
    this.seats.update(state);
    this.transport.update(state);
    this.branches.update(state);
    this.editor.update(state.world, state.subjects);
    this.meter.show(state);
    setText(this.people, state.people === 1 ? "1 person" : `${state.people} people`);
    this.showPrompt();
  }

  private showWorld(): void {
    const { world } = this.state;
    this.shownWorld = world!.name;
    setText(this.title, world!.title);
    document.title = `${world!.title} · ActionParty`;
    this.legend.show(world!.actions, this.steering, (steering) => this.steer(steering));
    this.touch.show(world!.actions);
    if (this.editor.active) this.editor.setActive(true);
  }

  private showPrompt(): void {
    const { state } = this;
    const full = !freeSeat(state);
    let text = "";
    if (state.message && !state.slow) text = state.message;
    else if (!this.editor.active && !mySeat(state)) text = full ? "All seats are taken: you are watching." : "Press a key to join, or click somebody.";
    setText(this.prompt, text);
    this.prompt.hidden = text === "";
    this.root.classList.toggle("seated", mySeat(state) !== null);
  }

  private onPointer(kind: "down" | "move" | "up", x: number, y: number): void {
    if (this.editor.active) return this.editor.pointer(kind, x, y);
    if (kind !== "down") return;
    const subject = this.stage.subjectAt(x, y);
    if (subject !== null) this.take(subject);
  }

  private take(subject: number): void {
    const seat = this.state.seats[subject];
    if (!seat || seat.mine) return;
    if (!isFree(seat)) this.notices.say(`${seat.name || "Somebody"} plays this one. Pick a free seat.`);
    else this.send({ type: "take", subject });
  }

  private takeFirst(): boolean {
    const seat = freeSeat(this.state);
    if (seat) this.send({ type: "take", subject: seat.subject });
    else this.notices.say("All seats are taken: you are watching.");
    return seat !== null;
  }

  /** Send an action; the first one takes a seat where this person has none. */
  private act(message: ActorMessage): void {
    if (this.state.phase !== "live") return;
    const seated = mySeat(this.state) !== null;
    if (!seated && !this.taking && message.type === "act") this.taking = this.takeFirst();
    if (seated || this.taking) this.connection.send(message);
  }

  private resolve(intent: Intent, straight: boolean): Meaning | null {
    return meaningOf(intent, this.look().facing, this.steering, this.state.world?.actions ?? [], straight);
  }

  private look(): Sight {
    const { step, subjects, world } = this.state;
    const mine = subjects[mySeat(this.state)?.subject ?? -1];
    const played = mine?.alive && mine.action !== null ? (world?.actions[mine.action] ?? null) : null;
    return { facing: mine?.facing ?? 0, step, played };
  }

  private steer(steering: Steering): void {
    this.steering = steering;
    remembered.set("steering", steering);
  }

  private otherKey(event: KeyboardEvent): boolean {
    if (document.querySelector("dialog[open]")) return false;
    if (this.editor.active && document.activeElement === this.stage.canvas && this.editor.key(event)) return true;
    const known: Record<string, () => void> = {
      KeyP: () => this.toggle(), Period: () => this.pausedThen({ type: "step" }), KeyI: () => this.toggleInside(), KeyB: () => this.toggleEdit(),
      KeyC: () => this.toggleCheck(), KeyR: () => void this.reset(false),
    };
    const run = event.repeat ? undefined : known[event.code];
    run?.();
    return run !== undefined;
  }

  /** Start again; `fresh` from another scene of the world. */
  private async reset(fresh: boolean): Promise<void> {
    const worlds = fresh ? await fetchWorlds().catch(() => []) : [];
    const scenes = worlds.find((world) => world.name === this.state.world?.name)?.scenes ?? 0;
    this.send({ type: "reset", scene: scenes > 0 ? Math.floor(Math.random() * scenes) : null, seed: null });
  }

  private toggle(): void {
    if (this.editor.active) return this.toggleEdit();
    this.send({ type: this.state.paused ? "resume" : "pause" });
  }

  private pausedThen(message: ClientMessage): void {
    if (!this.state.paused) this.send({ type: "pause" });
    this.send(message);
  }

  private switches(): void {
    this.transport.switches({ inside: this.inside, check: this.checking, edit: this.editor.active });
    this.root.classList.toggle("editing", this.editor.active);
    this.showPrompt();
  }

  private toggleInside(): void {
    this.inside = !this.inside;
    this.send({ type: "overlay", on: this.inside });
    if (this.inside) this.notices.say("Light: what a subject attends to (point at another to see its). Cross: its token. Dashed: where it is expected next.");
    else this.change({ type: "overlay_off" });
    this.switches();
  }

  private toggleCheck(): void {
    if (!this.state.simulator) return this.notices.say("The reality check needs Melting Pot: pip install 'actionparty[meltingpot]'.");
    this.send({ type: "check", on: !this.checking });
    this.setChecking(!this.checking);
  }

  private setChecking(on: boolean): void {
    this.checking = on;
    this.simulated = null;
    this.decoders.simulated.reset();
    this.stage.setChecking(on);
    this.switches();
  }

  private toggleEdit(): void {
    const on = !this.editor.active;
    if (on && !maySteer(this.state)) return this.notices.say("Only players edit the scene: take a seat first.");
    if (on && !this.state.paused) this.send({ type: "pause" });
    if (!on && this.state.paused) this.send({ type: "resume" });
    this.actor.releaseAll();
    this.editor.setActive(on);
    if (on) this.stage.canvas.focus({ preventScroll: true });
    this.switches();
  }

  private invite(): void {
    const link = new URL(pageAddress(this.options.room), location.href).href;
    openInvite(link, personName(), (name) => this.rename(name), (message) => this.notices.say(message));
  }

  private rename(name: string): void {
    remembered.set("name", name.slice(0, NAME_LIMIT));
    this.connection.renew();
  }

  private changeWorld(): void {
    const grid = new WorldGrid((world: WorldCard, scene: number) => {
      close();
      this.send({ type: "world", world: world.name, scene });
    });
    const close = openDialog("Change the world for everybody here", "pick-world", grid.root);
    grid.load().catch((error: unknown) => this.notices.say(String(error), "error"));
  }

  private async onLost(attempt: number): Promise<void> {
    this.change({ type: "phase", phase: "lost" });
    if (attempt === 1 && this.state.world) return this.notices.hold("Connection lost. Coming back…");
    const gone = await this.whyGone();
    if (gone) return this.ended(gone);
    if (attempt < TRIES_BEFORE_GONE) return this.notices.hold("Connecting…");
    const retry = h("button", { type: "button", class: "button", onclick: () => this.connection.retry() }, "Try again");
    this.notices.hold("The server is gone. Start it again with: actionparty play", retry);
  }

  /** Return why coming back is no use, or null where it may help. */
  private async whyGone(): Promise<string | null> {
    try {
      const rooms = await fetchRooms();
      return rooms.some((room) => room.room === this.options.room) ? null : "This room does not exist any more.";
    } catch (error) {
      const status = (error as { status?: number }).status ?? 0;
      return status === 401 || status === 403 ? "This server needs a key: ask for the whole invite link." : null;
    }
  }

  private ended(reason: string): void {
    this.connection.close();
    const back = h("button", { type: "button", class: "button primary", onclick: () => this.options.leave() }, "All worlds");
    this.notices.hold(`${reason.charAt(0).toUpperCase()}${reason.slice(1)}`, back);
  }
}
