// Package plain says in plain words what went wrong: it replaces the words of Go's packages and of the operating
// system in errors that people read. All commands report their errors through it.
//
// Why a connection failed is worded by package connfailure, and a flag that is wrong by package cliflag.
package plain
