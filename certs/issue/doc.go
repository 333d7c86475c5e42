// Package issue makes CAs, and certificates of members and clients that they sign, for those who have no CA of their
// own. It makes them in memory: which files they go to is decided by who calls.
//
// Keys are ECDSA on P-256. A CA signs no other CAs.
package issue
