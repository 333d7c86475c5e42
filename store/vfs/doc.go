// Package vfs creates, replaces and removes files so that they survive a loss of power: what is written is
// fsynced, then renamed, then its directory is fsynced. Nothing under store/ creates, renames or removes a
// file that must survive in another way. It knows nothing of what the files hold.
package vfs
