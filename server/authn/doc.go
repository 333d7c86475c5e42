// Package authn says who calls: by a token, by the certificate of the connection, or nobody in particular. It knows
// nothing of what a caller may do.
//
// A token that proves nothing is refused, and its caller is never taken for an anonymous one. The answer to such a call
// waits, longer each time for the same address. Other calls from there do not.
package authn
