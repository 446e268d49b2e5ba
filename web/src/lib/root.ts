/** Where a proxy offers the server: '/assistant', or '' at a host's root. The built scripts lie in its assets/. */
export const root = import.meta.env.PROD ? new URL(/* @vite-ignore */ '..', import.meta.url).pathname.slice(0, -1) : ''

/** The browser's address of a path of this server. */
export const at = (path: string) => root + path

/** A browser's address as a path of this server. */
export const below = (address: string) => (root && address.startsWith(`${root}/`) ? address.slice(root.length) : address)
