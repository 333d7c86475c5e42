// The JSON of the API (docs/json.md): fields have the names of api/rollcall/v1/rollcall.proto. A field with "?" is left out
// where it has no meaning. Nodes may send more fields than stand here.

export type Status = "SERVING" | "NOT_SERVING" | "UNKNOWN" | "SERVICE_UNKNOWN";

export interface Actor {
  name: string;
  verified: boolean;
  peer: string;
  on_behalf_of: string;
}

export interface Report {
  status: Status;
  reason: string;
  actor?: Actor;
  time?: string;
  revision?: number;
  lease_id: string;
}

export interface Override {
  pattern: string;
  status: Status;
  reason: string;
  actor?: Actor;
  time?: string;
  revision?: number;
  expire_time?: string; // left out: it lasts until it is cleared
  status_time?: string;
}

export interface Lease {
  lease_id: string;
  ttl_seconds?: number;
  on_expiry?: Status;
  forget_after_seconds?: number;
  reason?: string;
  actor?: Actor;
  time?: string;
  revision?: number;
  end_time?: string; // left out: it lives
  revoked?: boolean;
  forget_time?: string;
  service_count?: number;
  time_left_seconds?: number;
  late?: boolean;
}

export interface LeaseGuard {
  engaged: boolean;
  time?: string;
  late: number;
  live: number;
  release_time?: string;
}

export interface ServiceRecord {
  service: string;
  status: Status;
  status_time?: string;
  report?: Report;
  override?: Override; // that decides
  shadowed?: Override[];
  lease?: Lease;
}

export interface Rule {
  name: string;
  pattern: string;
  min_serving: number;
  min_percent: number;
  enforce_reports: boolean;
  reason: string;
  actor?: Actor;
  time?: string;
  revision?: number;
  // Counted in lists. The answer to a rule that was set has them only if it is broken.
  needed: number;
  serving: number;
  total: number;
}

export interface BrokenRule {
  rule: string;
  pattern: string;
  needed: number;
  serving: number;
  total: number;
}

export interface AffectedService {
  service: string;
  before: Status;
  after: Status;
}

export type EventType =
  | "reported" | "deleted" | "expired"
  | "override-set" | "override-cleared" | "override-expired"
  | "lease-granted" | "lease-ending" | "lease-ended" | "lease-forgotten" | "lease-guard"
  | "member-changed" | "member-removed"
  | "rule-set" | "rule-removed"
  | "access-changed";

export interface Event {
  revision: number;
  commit_revision: number;
  type: EventType;
  time?: string;
  actor?: Actor;
  reason: string;
  request_id: string;
  service?: string;
  pattern?: string;
  previous_status?: Status;
  status?: Status;
  effective_status?: Status;
  expire_time?: string;
  lease_id?: string;
  member?: Member;
  matched_count?: number;
  broken_rules?: BrokenRule[];
  break_glass?: string[];
  rule?: Rule;
  lease?: Lease;
  lease_guard?: LeaseGuard;
  detached?: boolean;
  access?: AccessChange;
}

export interface AccessChange {
  deleted: boolean;
  token?: Token;
  role?: Role;
  grants?: IdentityGrants;
  auth?: Auth;
}

export interface Member {
  name: string;
  api_address: string;
  peer_address: string;
  voter?: boolean;
  replica: boolean;
  phase?: "joining" | "voter" | "replica" | "leaving";
  directory_id: string;
  phase_detail?: string;
}

export interface Storage {
  registry_bytes: number;
  log_bytes: number;
  snapshot_bytes: number;
  free_bytes?: number;
}

export interface MemberStatus {
  member: Member;
  role?: "leader" | "follower" | "candidate" | "non-voter";
  ready: boolean;
  revision: number;
  term: number;
  applied_index: number;
  lag_entries: number;
  leader_age_seconds?: number;
  version: string;
  start_time?: string;
  error: string;
  max_level: number;
  hold_level: number;
  clock_offset_seconds?: number;
  storage?: Storage;
  cannot_reach: string[];
  certificate_expires?: string;
}

export interface ClusterStatus {
  cluster_id: string;
  node: string;
  leader: string; // "": none is known
  term: number;
  revision: number;
  writable: boolean;
  members: MemberStatus[];
  problems: string[]; // worst first
  level: number;
  level_held: string;
  access_enforced: boolean;
}

export interface Grant {
  role: string;
  patterns: string[];
}

export interface Role {
  name: string;
  verbs: string[];
  built_in: boolean;
  reason?: string;
  actor?: Actor;
  time?: string;
  revision?: number;
}

export interface Token {
  name: string;
  id: string;
  description: string;
  expire_time?: string; // left out: never
  grants: Grant[];
  reason: string;
  actor?: Actor;
  time?: string;
  revision?: number;
}

export interface IdentityGrants {
  identity: string;
  grants: Grant[];
  denied: boolean;
  reason: string;
  actor?: Actor;
  time?: string;
  revision?: number;
}

export interface Auth {
  enforced: boolean;
  anonymous: string;
  reason: string;
  actor?: Actor;
  time?: string;
  revision?: number;
}

export interface WhoAmI {
  identity: string;
  how: string;
  grants: Grant[];
  expires?: string;
  enforced: boolean;
  denied: boolean;
  cluster_id: string;
  revision: number;
}

export interface AccessCheck {
  allowed: boolean;
  why: string;
  enforced: boolean;
}

// Answers.

export interface GetService {
  service: ServiceRecord;
  revision: number;
  cluster_id: string;
}

export interface ListServices {
  services: ServiceRecord[];
  next_page_token: string;
  revision: number;
  cluster_id: string;
}

export interface ListRules {
  rules: Rule[];
  revision: number;
  cluster_id: string;
}

export interface ListLeases {
  leases: Lease[];
  next_page_token: string;
  guard?: LeaseGuard; // left out: it was never engaged
  revision: number;
  cluster_id: string;
}

export interface ListEvents {
  events: Event[];
  next_page_token: string;
  oldest_revision: number;
  revision: number;
  cluster_id: string;
}

// Messages of the streams.

export interface Opened {
  cluster_id: string;
  revision: number;
  resumed: boolean; // false: what was known before is to be forgotten
}

export interface ServicesMessage {
  services: ServiceRecord[];
  deleted: string[];
  revision: number;
  synced: boolean;
}

export interface EventsMessage {
  events: Event[];
  revision: number;
  more: boolean;
}
