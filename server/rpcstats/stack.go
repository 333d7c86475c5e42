package rpcstats

// growStack makes the stack of a new goroutine as large as a call needs. gRPC runs each call in one of
// its own, which begins with little and has it copied when that is not enough, in the middle of
// reading the request, beneath a dozen calls whose frames must all be adjusted: a quarter of what a Check
// costs. Here, at the top of a handler, there are few.
//
//go:noinline
func growStack() {
	var room [stackRoom]byte
	touch(&room)
}

// stackRoom is a little more than is used below a handler, and has the stack become 8 KiB.
const stackRoom = 3 << 10

//go:noinline
func touch(*[stackRoom]byte) {}
