// Additions to htmx for live fragments: a word when the server is gone, the title, and the focus.
(() => {
    const RETRY_MS = 5_000;
    const lost = () => document.getElementById("lost");

    // A stream that ends is opened again by htmx, and one that could not be opened at all is not.
    const again = ({ target }) => {
        const address = target.getAttribute?.("hx-sse:connect");
        if (!address || target._htmx?.sse) return;
        lost().hidden = false;
        setTimeout(() => htmx.ajax("GET", address, { source: target }), RETRY_MS);
    };
    document.addEventListener("htmx:error", again);
    document.addEventListener("htmx:response:error", (event) => {
        if (event.detail.ctx.response.status >= 500) again(event);
    });
    document.addEventListener("htmx:sse:error", () => { lost().hidden = false; });
    document.addEventListener("htmx:sse:before:connection", (event) => {
        lost().hidden = event.detail.connection.attempt < 2;
    });
    document.addEventListener("htmx:sse:after:message", () => {
        lost().hidden = true;
        const titled = document.querySelector("[data-title]");
        if (titled) document.title = titled.dataset.title;
        // A button that had the focus is gone, such as Cancel when a job ends.
        if (document.activeElement === document.body && document.hasFocus()) {
            document.querySelector("[data-focus]")?.focus();
        }
    });
})();
