// Sends files one after the other: the server is asked first whether it takes a file, then the bytes go as they are.
export default {
  template: `
    <div class="drop" :class="{ over }" @dragover.prevent="over = true" @dragleave="over = false" @drop.prevent="drop">
      <input ref="chooser" type="file" multiple :accept="accept" hidden :aria-label="texts.choose"
             @change="chosen" />
      <q-btn unelevated no-caps color="primary" icon="upload" :label="texts.choose" @click="$refs.chooser.click()" />
      <div class="soft">{{ texts.drop }}</div>
      <div class="soft small">{{ texts.limit }}</div>
      <div class="sendings" aria-live="polite">
        <div v-for="item in items" :key="item.key" class="sending">
          <div class="line apart">
            <span class="mono">{{ item.name }}</span>
            <span class="small soft number" v-if="item.state === 'sending'">{{ percent(item) }}</span>
            <span class="small soft" v-if="item.state === 'waiting'">{{ texts.waiting }}</span>
            <q-btn v-if="item.state === 'sending' || item.state === 'waiting'" flat dense no-caps size="sm"
                   :label="texts.cancel" :aria-label="texts.cancel + ' ' + item.name" @click="cancel(item)" />
            <q-btn v-else flat dense round size="sm" icon="close" :aria-label="texts.hide + ' ' + item.name"
                   @click="items.splice(items.indexOf(item), 1)" />
          </div>
          <div v-if="item.state === 'sending'" class="track" role="progressbar" :aria-label="item.name"
               aria-valuemin="0" aria-valuemax="100" :aria-valuenow="Math.round(100 * item.sent / (item.size || 1))">
            <div :style="{ width: percent(item) }"></div>
          </div>
          <div v-if="item.error" class="wrong" role="alert">{{ item.error }}</div>
          <div v-if="item.hint" class="small soft">{{ item.hint }}</div>
        </div>
      </div>
    </div>
  `,
  props: { texts: Object, accept: String },
  data() {
    return { over: false, items: [], busy: false, count: 0, finished: [] };
  },
  methods: {
    percent(item) {
      return `${Math.floor((100 * item.sent) / (item.size || 1))}%`;
    },
    chosen(event) {
      this.add([...event.target.files]);
      event.target.value = ""; // so that the same file can be chosen again
    },
    drop(event) {
      this.over = false;
      const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.());
      this.add([...event.dataTransfer.files].map((file, i) => (entries[i]?.isDirectory ? { name: file.name } : file)));
    },
    add(files) {
      for (const file of files) {
        const known = file instanceof File;
        this.items.push({
          key: this.count++, file, name: file.name, size: file.size, sent: 0, error: known ? "" : this.texts.folder,
          hint: "", state: known ? "waiting" : "failed",
        });
      }
      this.next();
    },
    async next() {
      if (this.busy) return;
      const item = this.items.find((each) => each.state === "waiting");
      if (!item) {
        if (this.finished.length) this.$emit("received", this.finished.splice(0));
        return;
      }
      this.busy = true;
      item.state = "sending";
      try {
        const found = await this.send(item);
        if (found) {
          this.items.splice(this.items.indexOf(item), 1);
          this.finished.push(found);
        }
      } catch (problem) {
        item.state = "failed";
        item.error = problem.error || this.texts.broken;
        item.hint = problem.hint || "";
      }
      this.busy = false;
      this.next();
    },
    async send(item) {
      const address = `${window.path_prefix}/uploads/${encodeURIComponent(item.name)}`;
      const answer = await (await fetch(`${address}?size=${item.size}`)).json();
      if (answer.error) throw answer;
      if (item.state !== "sending") return null;
      return await new Promise((resolve, reject) => {
        const request = new XMLHttpRequest(); // fetch tells nothing of its progress
        item.stop = () => request.abort();
        request.upload.onprogress = (event) => (item.sent = event.loaded);
        request.onabort = () => resolve(null);
        request.onerror = () => reject({});
        request.onload = () => {
          let told = {};
          try {
            told = JSON.parse(request.responseText);
          } catch {}
          request.status === 201 ? resolve(told.name) : reject(told);
        };
        request.open("PUT", address);
        request.send(item.file);
      });
    },
    cancel(item) {
      item.state = "cancelled";
      item.stop?.();
      this.items.splice(this.items.indexOf(item), 1);
    },
  },
};
