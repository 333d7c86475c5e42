// Package top is what "rollcall top" shows: services counted by groups as they change, what keys do, and the lines that
// come of it, of which a terminal is sent those that changed.
//
// It asks no node and knows no terminal: cmd/rollcall/top.go does that.
package top
