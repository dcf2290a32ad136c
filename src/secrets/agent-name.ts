/** What `meshroot proxy agent` calls itself in `node.user_agent_name`. */
export const AGENT_NAME = "meshroot-agent";
