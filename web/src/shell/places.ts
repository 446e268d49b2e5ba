/** The places of the page, in the order of the header's links. A new one: an entry here, and its view in App.svelte. */
import type { IconName } from '../Icon.svelte'
import type { Config, Role } from '../lib/api'
import type { Key } from '../lib/i18n'

export interface Place {
  path: string
  name: Key
  icon: IconName
  /** The least role that sees it. */
  needs: Role
  /** How much waits there for the reader. */
  waiting?: (config: Config) => number
  /** Whether there is anything to see; always where it does not say. */
  there?: (config: Config) => boolean
  /** Opens beside the page. */
  apart?: boolean
}

const ROLES: readonly Role[] = ['chatter', 'labeler', 'manager', 'admin']

export const PLACES: readonly Place[] = [
  { path: '/', name: 'chat_place', icon: 'chat', needs: 'chatter' },
  {
    path: '/desk',
    name: 'desk_place',
    icon: 'rank',
    needs: 'labeler',
    waiting: ({ ranking }) => Math.max(0, ranking.tasks - ranking.ranked),
  },
  { path: '/rounds', name: 'rounds', icon: 'curve', needs: 'manager' },
  { path: '/people', name: 'people_place', icon: 'people', needs: 'chatter', there: ({ auth }) => !!auth },
  { path: '/report', name: 'report', icon: 'report', needs: 'chatter', there: ({ report }) => report, apart: true },
]

/** Whether the reader has `role` or a higher one; everybody is an admin where there are no accounts. */
export const may = (config: Config | null, role: Role) =>
  config !== null && ROLES.indexOf(config.me?.role ?? 'admin') >= ROLES.indexOf(role)

export const placesFor = (config: Config | null) =>
  PLACES.filter((place) => config && may(config, place.needs) && (place.there?.(config) ?? true))
