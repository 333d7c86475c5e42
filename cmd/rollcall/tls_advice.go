package main

import "strings"

// tlsAdvice is what to do about endpoints that cannot be used, by what their errors hold. The first that is found
// counts.
var tlsAdvice = []struct {
	secured bool // the command has connected with TLS
	holds   string
	do      string // "": the error says it
}{
	{false, "does it need TLS", "if the nodes use TLS, name the file of their CA with --ca"},
	{true, "does it speak TLS?", "if the nodes do not use TLS, leave out --ca, and unset ROLLCALL_CA"},
	{true, "does not speak TLS", "if the nodes do not use TLS, leave out --ca, and unset ROLLCALL_CA"},
	{true, "is signed by no CA that is trusted here", "name the file of the CA of the nodes with --ca"},
	{true, "the certificate of", ""},
	{true, "the certificate that is shown", ""},
	{true, "it asks for a certificate", "show one with --cert and --key"},
}

// connectAdvice returns what to do when no node can be used, for the reasons of message.
func (a *app) connectAdvice(message string) string {
	secured := len(a.tls.CA) > 0 || a.tls.Cert != ""
	for _, t := range tlsAdvice {
		if t.secured == secured && strings.Contains(message, t.holds) {
			return t.do
		}
	}
	return noNodeAdvice
}
