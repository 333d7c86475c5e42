// Package tlstest makes CAs and certificates for tests. Their time is that of time.Now, also in the bubbles of
// testing/synctest.
package tlstest
