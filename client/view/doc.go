// Package view keeps what the registry last said of some services, for a program that must decide at once and must
// go on when the registry is away.
//
// A [View] follows its names while [View.Run] runs. [View.Get] reads what is known of one, without a lock and without
// an allocation, so that it can be asked on every call; [View.Changed] says when to look again.
//
// # What stays
//
// The last opinion stays for ever when the registry falls silent: nodes that stop, hang or cannot be reached change
// nothing. A service that is deleted is no more switched off: its opinion is ServiceUnknown.
//
// Another cluster on the same endpoints, because the registry was founded anew or restored from a backup, may know
// nothing of what the old one had switched off. So a name that was off stays off: [Opinion.Held]. It is held until the
// new cluster speaks of the name, which is when a service of that name exists there. What an override of the old cluster
// switched off is not ended by what comes by itself: a report under a lease, which processes make anew within a second,
// or the NOT_SERVING that is left when a lease expires. It is ended by an override, by a report of another kind, and, if
// the service exists in the new cluster, when the old override would have ended. Names that were not off are what the
// new cluster says at once.
//
// # Two watches
//
// A View opens two watches, each on one half of [client.Client.Endpoints], and of what both say it takes what is newer.
// So a node that hangs, which takes 15 s to be noticed, delays nothing as long as a node of the other half answers.
// With one endpoint there is one watch.
//
// # Endpoints of different clusters
//
// While a registry is restored one node after another, or when an endpoint belongs to another registry by mistake, the
// two watches can hear different clusters. Then the one that was heard first counts, and the log says that they differ.
// Another one takes its place when no watch speaks of the first any more, when more than half of the endpoints belong to
// the other, or when no watch has heard the first for 10 s. If most endpoints belong to the other, and the watch that
// hears it never heard the first, then the first was a mistake: nothing of it is held.
//
// # What it costs
//
// A view is two streams and three goroutines, and about 500 bytes a name, the records included. Changes of other services
// cost it nothing.
//
// # What belongs here
//
// What the registry says, and since when. What a program does about it stands elsewhere: client/healthserver serves
// it, client/aware refuses calls, client/resolver leaves out instances.
package view
