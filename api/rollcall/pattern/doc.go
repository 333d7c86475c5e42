// Package pattern says which services a pattern covers, and which of several patterns decides over a service.
//
// A pattern is "shop/cart" (the service of that name), "shop/*" or "shop.*" (all whose names begin with
// "shop/", "shop."), "*" (all) or "**" (all, and it decides over every other pattern). Of two patterns one
// covers all that the other covers, or they have nothing in common.
//
// What a pattern may look like is a matter of package limits; this package takes any text for one. No pattern
// covers the nodes' own names.
package pattern
