/** The server's interface for accounts. */
import { json, type Role } from '../lib/api'
import { at } from '../lib/root'
import { kept } from '../lib/ui.svelte'

export interface Me {
  id: string
  name: string
  role: Role
}
export interface Session {
  auth: boolean
  me: Me | null
  name: string
  language: string
  oidc: boolean
}
export type Scope = 'chat' | 'label' | 'manage' | 'metrics'
export interface Key {
  id: string
  name: string
  prefix: string
  scopes: Scope[]
  created: string
  expires: string | null
  used: string | null
}
export interface User extends Me {
  disabled: boolean
  joined: boolean
  created: string
}
export interface Invitation {
  id: string
  role: Role
  name: string
  expires: string
}
export interface Owned {
  held: Record<string, number>
  not_learned: number
  rounds: number[]
  handed_back: number
  reopened: number
  /** Backups, exports and the like in the workspace, which nothing is taken out of. */
  unseen: string[]
}
export interface Entry {
  number: number
  at: string
  who: string
  action: string
  about: string
  details: Record<string, string | number | boolean>
}

const person = (id: string) => `/api/people/${encodeURIComponent(id)}`
export const account = {
  session: () => json<Session>('GET', '/api/session'),
  signIn: (name: string, password: string) => json<{ me: Me }>('POST', '/api/session', { name, password }),
  signOut: () => json<unknown>('DELETE', '/api/session'),
  signOutEverywhere: () => json<unknown>('DELETE', '/api/me/sessions'),
  invitation: (token: string) => json<Invitation>('POST', '/api/invitation', { token }),
  accept: (token: string, name: string, password: string) =>
    json<{ me: Me }>('POST', '/api/invitation/accept', { token, name, password }),
  /** After signing out: the next reader of this browser may be another, who finds no drafts. */
  left: () => {
    kept.forget('draft.')
    location.assign(at('/login'))
  },
  /** How much of what somebody has; of oneself without an id. */
  owned: (id?: string) => json<Owned>('GET', id ? `${person(id)}/owned` : '/api/me/owned'),
  /** Of a ZIP with everything. */
  exported: (id?: string) => (id ? `${person(id)}/export` : '/api/me/export'),
  /** Deletes somebody for good, with feedback that no round has learned. */
  remove: (id: string) => json<unknown>('DELETE', `${person(id)}?feedback=delete`),
  leave: (password: string) => json<unknown>('POST', '/api/me/leave', { password, feedback: 'delete' }),
  /** The provider's address, where signing in accepts the invitation. */
  acceptElsewhere: (token: string) => json<{ url: string }>('POST', '/api/oidc/start', { token }),
  changePassword: (old: string, new_: string) => json<unknown>('PUT', '/api/me/password', { old, new: new_ }),
  keys: () => json<{ keys: Key[]; scopes: Scope[] }>('GET', '/api/me/keys'),
  addKey: (name: string, scopes: Scope[], expires: string | null) =>
    json<{ key: Key; secret: string }>('POST', '/api/me/keys', { name, scopes, expires }),
  revokeKey: (id: string) => json<unknown>('DELETE', `/api/me/keys/${encodeURIComponent(id)}`),
  people: () => json<{ people: User[]; invitations: Invitation[] }>('GET', '/api/people'),
  add: (name: string, role: Role) => json<{ token: string }>('POST', '/api/people', { name, role }),
  change: (id: string, change: { role?: Role; disabled?: boolean }) => json<User>('PATCH', person(id), change),
  keysOf: (id: string) => json<Key[]>('GET', `${person(id)}/keys`),
  /** `keys`: revoke them too. */
  reset: (id: string, keys: boolean) => json<{ token: string }>('POST', `${person(id)}/reset`, { keys }),
  invite: (role: Role) => json<{ token: string }>('POST', '/api/invitations', { role }),
  withdraw: (id: string) => json<unknown>('DELETE', `/api/invitations/${encodeURIComponent(id)}`),
  audit: (before?: number) => json<Entry[]>('GET', `/api/audit?most=50${before ? `&before=${before}` : ''}`),
}

/** A path of this server, where a sign-in may go on to. */
export const ownPath = (wanted: string | null) => (wanted && /^\/(?![/\\])[!-~]*$/.test(wanted) ? wanted : '/')

/** The link of an invitation. What is behind '#' is sent to no server. */
export const linkOf = (token: string) => `${location.origin}${at('/login')}#invitation=${token}`
